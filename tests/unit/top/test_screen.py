"""The live screen through Textual's own pilot, with a fleet of values behind it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from celeryfleet.errors import FleetError
from celeryfleet.history import Moment
from celeryfleet.ledger.entry import RUNNING, Entry
from celeryfleet.logs.read import Follower
from celeryfleet.protocol import Pause, Restart, Scale, Status
from celeryfleet.records import Record
from celeryfleet.top.screen import Top
from tests.screens import text, until
from tests.unit.shown import pool, queue, reply, worker


class Shop:
    """A fleet that does what it is asked, or says why not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.want = {"web": 2, "video": 1}
        self.paused: tuple[str, ...] = ()
        self.asked: list[Record] = []
        self.trouble = ""

    def look(self) -> Moment:
        if self.trouble:
            raise FleetError(self.trouble)
        running = (
            Entry("web-2", "number-7", "shop.weather.get", "mail", RUNNING, started=int(time.time() - 65) * 1000),
        )
        return Moment(time.time(), self.status(), running)

    def status(self) -> Status:
        pools = [
            pool(name, want, *(worker(f"{name}-{number + 1}", processed=number * 7) for number in range(want)))
            for name, want in self.want.items()
        ]
        return reply(*pools, queues=(queue("mail", ready=3, consumers=2), queue("video")), paused=self.paused)

    def do(self, request: Record) -> None:
        self.asked.append(request)
        match request:
            case Scale(replicas):
                if replicas.get("video") == 2:
                    raise FleetError("no room for video.", hint="Buy a machine.")
                self.want |= replicas
            case Pause(queues):
                self.paused = queues

    def logs(self, of: str) -> Follower:
        return Follower(self.folder, lambda name: not of or name.startswith(of))

    def why(self, what: str) -> list[str]:
        return [f"{what} is [fine]"]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "web-1.log").write_text("[2026-11-26 05:49:29,123: INFO/MainProcess] one \x9b\n")
    (tmp_path / "video-1.log").write_text("2026-11-26 05:49:30.123 | DEBUG | two\n")
    return Shop(tmp_path)


@asynccontextmanager
async def shown(shop: Shop, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    """Show the screen once it has looked at the fleet and its logs."""
    app = Top(shop, shop.look())
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: all(word in text(pilot) for word in ("broker", "WORKER", "| two", "? help")))
        yield pilot


def telling(shop: Shop, story: Callable[[Pilot[None]], Any], size: tuple[int, int] = (80, 24)) -> None:
    """Run a story on the screen."""

    async def run() -> None:
        async with shown(shop, size) as pilot:
            await story(pilot)

    asyncio.run(run())


EIGHTY = """\
shop  ● ready  up 3s  3 of 3 workers ready
broker  redis://:***@host:6379/0  ● up
0 tasks/s …  1 running  3 waiting
─ queues ───────────────────────────────────────────────────────────────────────
QUEUE   READY   UNACKED   OLDEST   IN/S   OUT/S   CONSUMERS        TREND
mail        3         0                                   2 …
video                 0                                   0 …
─ workers ──────────────────────────────────────────────────────────────────────
WORKER      STATE TASK                         FOR DONE/S DONE FAILED UPTIME PID
web         2/2   mail, default  prefork × 4            0    7      0
  ● web-1   ready                                       0    0      0     3s   2
  ● web-2   ready shop.weather.get           1m05s      0    7      0     3s   2
video       1/1   mail, default  prefork × 4            0    0      0
  ● video-1 ready                                       0    0      0     3s   2




─ log ──────────────────────────────────────────────────────────────────────────
web-1   | 05:49:29: INFO/MainProcess] one \\x9b
video-1 | 05:49:30 | DEBUG | two


 / filter  s sort  l logs  w why  + - scale  p pause  r restart  q quit  ? help"""


def test_everything_is_on_eighty_columns_and_twenty_four_lines(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        assert re.sub(" *[▁-█]+", " …", text(pilot)).replace("1m06s", "1m05s") == EIGHTY

    telling(shop, story)


def test_a_wide_screen_has_queues_beside_workers_and_more_columns(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        titles = next(line for line in text(pilot).splitlines() if "WORKER" in line)
        assert titles.index("TREND") < titles.index("WORKER") < titles.index("MEMORY")

    telling(shop, story, (180, 40))


def test_what_is_typed_after_a_slash_filters_at_once_and_escape_shows_all_again(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"weather")
        await until(pilot, lambda: "web-2" in text(pilot) and "● web-1" not in text(pilot))
        assert "● video-1" not in text(pilot)
        await pilot.press("enter", "escape")
        await until(pilot, lambda: "● video-1" in text(pilot))

    telling(shop, story)


def test_s_sorts_the_table_that_is_looked_at(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await until(pilot, lambda: "FOR▾" in text(pilot))
        assert text(pilot).index("● web-2") < text(pilot).index("● web-1")
        await pilot.press("tab", "s")
        await until(pilot, lambda: "READY▾" in text(pilot))

    telling(shop, story)


def test_l_shows_the_log_of_what_is_chosen_and_again_all(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("end", "l")
        await until(pilot, lambda: "log of video-1" in text(pilot) and "web-1   |" not in text(pilot))
        with (shop.folder / "video-1.log").open("a") as log:
            log.write("three\n")
        await until(pilot, lambda: "video-1 | three" in text(pilot))
        await pilot.press("l")
        await until(pilot, lambda: "web-1   |" in text(pilot))

    telling(shop, story)


def test_plus_and_minus_scale_the_pool_of_the_chosen_worker_and_none_at_all_is_asked_for(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("down", "plus", "plus")
        await until(pilot, lambda: "4/4" in text(pilot))
        assert shop.asked == [Scale({"web": 3}), Scale({"web": 4})]
        await pilot.press("minus", "minus", "minus", "minus", "minus")
        await until(pilot, lambda: "Stop all workers of web?" in text(pilot))
        await pilot.press("n")
        await until(pilot, lambda: "Stop all" not in text(pilot))
        assert shop.want["web"] == 1
        await pilot.press("minus")
        await until(pilot, lambda: "Stop all workers of web?" in text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "0/0" in text(pilot))

    telling(shop, story)


def test_p_pauses_the_chosen_queue_and_again_resumes_it(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("p")
        await until(pilot, lambda: "Choose a queue of the fleet first" in text(pilot))
        await pilot.press("tab", "down", "p")
        await until(pilot, lambda: "video (paused)" in text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "video (paused)" not in text(pilot))
        assert shop.asked == [Pause(("video",)), Pause(())]

    telling(shop, story)


def test_r_restarts_the_chosen_pool_when_that_is_confirmed(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("end", "r")
        await until(pilot, lambda: "Restart video?" in text(pilot))
        assert shop.asked == []
        await pilot.press("y")
        await until(pilot, lambda: shop.asked == [Restart(("video",))])

    telling(shop, story)


def test_what_the_supervisor_refuses_is_said_with_what_to_do(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("end", "plus")
        await until(pilot, lambda: "no room for video. Buy a machine." in text(pilot))

    telling(shop, story)


def test_a_fleet_that_can_not_be_looked_at_says_so_until_it_can(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        shop.trouble = "the supervisor does not answer"
        await until(pilot, lambda: shop.trouble in text(pilot))
        assert "● web-1" in text(pilot)
        shop.trouble = ""
        await until(pilot, lambda: "does not answer" not in text(pilot))

    telling(shop, story)


def test_the_chosen_worker_stays_chosen_and_in_sight_while_others_come_before_it(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("end")
        shop.want["web"] = 40
        await until(pilot, lambda: "40/40" in text(pilot))
        await pilot.press("l")
        await until(pilot, lambda: "log of video-1" in text(pilot))
        await pilot.press("l", "up", "down")
        await until(pilot, lambda: "● video-1" in text(pilot))
        assert "WORKER" in text(pilot), "the titles stay"

    telling(shop, story)


def test_w_says_how_a_queue_or_the_task_of_a_worker_stands(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("w")
        await until(pilot, lambda: "Choose a queue, or a worker" in text(pilot))
        await pilot.press("down", "down", "w")
        await until(pilot, lambda: "number-7 is [fine]" in text(pilot))
        await pilot.press("escape", "tab", "w")
        await until(pilot, lambda: "mail is [fine]" in text(pilot))

    telling(shop, story)


def test_no_color_leaves_no_colour(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def story(pilot: Pilot[None]) -> None:
        colours = re.findall("fill: #(..)(..)(..)", pilot.app.export_screenshot())
        assert colours
        for colour in colours:
            assert len({int(part, 16) // 16 for part in colour}) == 1, "grey, as it is drawn for no colour"

    telling(shop, story)


def test_help_tells_the_keys_and_ctrl_c_ends_from_there_too(shop: Shop) -> None:
    async def story(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: "from one table to the other" in text(pilot))
        await pilot.press("slash", "q")
        await until(pilot, lambda: "from one table" not in text(pilot))
        await pilot.press("question_mark")
        await until(pilot, lambda: "from one table" in text(pilot))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: not pilot.app.is_running)

    telling(shop, story)
