"""The live screen before a real fleet: what it shows, changes and outlives, and how it leaves the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from celeryfleet.cli.session import Session
from celeryfleet.cli.top import Live
from celeryfleet.top.screen import Top
from tests.e2e.conftest import Home
from tests.fakes import ending
from tests.screens import text, until

SCALED = {"web": 2, "mail": 1}


def telling(home: Home, story: Callable[[Pilot[None]], Any]) -> None:
    """Run a story on a screen of this fleet."""

    async def run() -> None:
        fleet = Live(Session(home.path / "fleet.yaml"))
        async with Top(fleet, fleet.look()).run_test(size=(120, 40), notifications=True) as pilot:
            await story(pilot)

    asyncio.run(run())


def wanted(home: Home) -> dict[str, int]:
    return {pool["name"]: pool["want"] for pool in home.status()["pools"]}


def test_it_shows_what_happens_and_changes_the_fleet(home: Home) -> None:
    home.write().up()
    home.post("until", "go", "--queue", "default")

    async def story(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: re.search(r"web-1 +ready +shop.until +\d+s", text(pilot)))
        assert "1 running" in text(pilot)
        await pilot.press("plus")
        await until(pilot, lambda: re.search("web-2 +ready", text(pilot)))
        await pilot.press("tab", "down", "p")
        await until(pilot, lambda: "mail (paused)" in text(pilot))
        (home.path / "go").touch()
        home.post("until", "go")
        await until(pilot, lambda: "1 waiting" in text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "0 waiting" in text(pilot) and "(paused)" not in text(pilot))

    telling(home, story)
    assert wanted(home) == SCALED


def test_it_says_that_the_fleet_or_its_broker_is_away_and_goes_on_when_they_are_back(home: Home) -> None:
    home.write().up()
    home.post("until", "go")

    async def story(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "2 of 2 workers ready" in text(pilot) and "1 running" in text(pilot))
        [broker] = [pid for pid, command in home.processes().items() if "valkey-server" in command]
        os.kill(broker, signal.SIGSTOP)
        await until(pilot, lambda: "The broker cannot be reached" in text(pilot))
        os.kill(broker, signal.SIGCONT)
        await until(pilot, lambda: "cannot be reached" not in text(pilot))
        os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
        await until(pilot, lambda: "Nothing runs. Start the fleet" in text(pilot))
        assert "0 running" in text(pilot), "the ledger knows of no end"
        (home.path / "go").touch()
        home.up()
        await until(pilot, lambda: "2 of 2 workers ready" in text(pilot))

    telling(home, story)


@pytest.mark.parametrize("end", ["\x03", "q", signal.SIGTERM])
def test_it_leaves_the_terminal_as_it_was(home: Home, end: str | signal.Signals) -> None:
    home.write()
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    argv = [sys.executable, "-m", "celeryfleet", "top"]
    shown = b""
    started = subprocess.Popen(argv, cwd=home.path, stdin=slave, stdout=slave, stderr=slave, env=home.env)
    with ending(started) as process:
        while b"Nothing runs" not in shown:
            shown += os.read(master, 65536)
        assert termios.tcgetattr(slave) != before
        if isinstance(end, str):
            os.write(master, end.encode())
        else:
            process.send_signal(end)
        assert process.wait(60) == 0
    os.set_blocking(master, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            shown += os.read(master, 65536)
    assert termios.tcgetattr(slave) == before
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?1003h", b"\x1b[?1003l")):
        assert shown.rindex(on) < shown.rindex(off)
    os.close(master)
    os.close(slave)


def test_without_textual_or_a_terminal_it_says_what_to_do(home: Home) -> None:
    home.write()
    hidden = "import sys; sys.modules['textual'] = None; from celeryfleet.cli.entry import main; main()"
    argv = [sys.executable, "-c", hidden, "top"]
    done = subprocess.run(argv, cwd=home.path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == ('error: `celeryfleet top` needs Textual.\n  Install it: pip install "celeryfleet[top]"\n')
    done = home.run("top", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
