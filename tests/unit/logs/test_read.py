from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeryfleet.logs.choose import Choice
from celeryfleet.logs.read import Follower, follow, last_lines
from celeryfleet.logs.times import time_of


def stamp(second: int, text: str = "") -> str:
    """Write a line as Celery does, this many seconds after ten."""
    return f"[2025-03-10 {10 + second // 3600}:{second // 60 % 60:02}:{second % 60:02},000: INFO/MainProcess] {text}"


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def rotate(path: Path, keep: int = 9) -> None:
    last = next(number for number in range(keep) if not Path(f"{path}.{number + 1}").exists())
    for number in range(last, 0, -1):
        Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
    path.rename(f"{path}.1")
    Path(f"{path}.{keep}").unlink(missing_ok=True)
    path.touch()


def tail(
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    n: int | None = None,
    since: float | None = None,
    choice: Choice | None = None,
) -> Iterator[tuple[str, str]]:
    """Give the log as `celeryfleet logs` shows it."""
    follower = Follower(folder, wanted)
    yield from follower.backlog(n, since, choice)
    yield from follower.close()


# --- The end of the log -----------------------------------------------------------------------------------


def test_the_logs_of_all_workers_are_merged_by_time_and_tracebacks_stay_together(tmp_path: Path) -> None:
    write(tmp_path / "web-1.log", stamp(1, "a"), "Traceback:", "  ValueError", stamp(5, "b"))
    write(tmp_path / "web-2.log", stamp(1, "c"), "2025-03-10 10:00:03.500 | d", "  more", stamp(6, "e"))
    assert [(name, line[-9:]) for name, line in tail(tmp_path)] == [
        ("web-1", "rocess] a"),
        ("web-1", "raceback:"),
        ("web-1", "alueError"),
        ("web-2", "rocess] c"),
        ("web-2", "3.500 | d"),
        ("web-2", "  more"),
        ("web-1", "rocess] b"),
        ("web-2", "rocess] e"),
    ]


def test_the_last_lines_reach_into_rotated_files(tmp_path: Path) -> None:
    path = tmp_path / "web-1.log"
    for number in range(10):
        write(path, stamp(number))
        if number % 3 == 2:
            rotate(path)
    assert [line for _, line in tail(tmp_path, n=5)] == [stamp(number) for number in range(5, 10)]
    assert [line for _, line in tail(tmp_path, n=99)] == [stamp(number) for number in range(10)]
    assert list(tail(tmp_path, n=0)) == []


def test_a_tail_that_begins_in_a_traceback_knows_its_time(tmp_path: Path) -> None:
    write(tmp_path / "a.log", stamp(1), stamp(9, "late"), *(f"  frame {number}" for number in range(20)))
    write(tmp_path / "b.log", *(stamp(number) for number in range(2, 8)))
    assert [line for _, line in tail(tmp_path, n=3)] == ["  frame 17", "  frame 18", "  frame 19"]


def test_the_last_matches_are_counted_with_their_tracebacks_not_by_lines(tmp_path: Path) -> None:
    write(tmp_path / "a.log", *(line for at in (1, 5, 7) for line in (stamp(at, "boom"), "Traceback:", f"  {at}")))
    write(tmp_path / "b.log", stamp(2, "well"), stamp(6, "boom"), "Traceback:", "  6")
    choice = Choice(["a", "b"], [re.compile("boom")])
    for n, found in ((0, []), (1, ["  7"]), (3, ["  5", "  6", "  7"])):
        shown = list(tail(tmp_path, n=n, choice=choice))
        assert [line for _, line in shown[2::3]] == found
        assert len(shown) == 3 * n


def test_each_line_is_a_match_of_its_own_in_a_log_without_times(tmp_path: Path) -> None:
    write(tmp_path / "a.log", "boom 1", "well", "boom 2", "well")  # all after the first match was shown
    choice = Choice(["a"], [re.compile("boom")])
    assert [line for _, line in tail(tmp_path, choice=choice)] == ["boom 1", "boom 2"]
    assert [line for _, line in tail(tmp_path, n=1, choice=choice)] == ["boom 2"]


def test_since_leaves_out_what_is_older_and_the_rest_of_its_records(tmp_path: Path) -> None:
    path = tmp_path / "web-1.log"
    for number in range(100):
        write(path, stamp(number), f"  detail {number}")
        if number % 20 == 19:
            rotate(path)
    since = time_of(stamp(35).encode())
    lines = [line for _, line in tail(tmp_path, since=since)]
    assert lines == [line for number in range(35, 100) for line in (stamp(number), f"  detail {number}")]
    assert [line for _, line in tail(tmp_path, since=since, n=1)] == ["  detail 99"]
    assert list(tail(tmp_path, since=1e12)) == []


@pytest.mark.slow
def test_since_reads_little_of_a_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "web-1.log"
    with path.open("w") as file:
        file.writelines(f"{stamp(number // 100, 'x' * 100)}\n" for number in range(200_000))
    size = path.stat().st_size
    fd = os.open(path, os.O_RDONLY)
    before = _bytes_read()
    follower = Follower(tmp_path)
    lines = list(follower.backlog(since=time_of(stamp(1999).encode())))
    follower.close()
    os.close(fd)
    assert len(lines) == 100
    if before is not None:
        assert (_bytes_read() or 0) - before < size / 10


def _bytes_read() -> int | None:
    try:
        counters = Path("/proc/self/io").read_text()
    except OSError:
        return None
    return int(counters.split("rchar: ")[1].split()[0])


def test_only_the_wanted_workers_are_shown(tmp_path: Path) -> None:
    for name in ("web-1", "video-1", "supervisor"):
        write(tmp_path / f"{name}.log", stamp(1, name))
    (tmp_path / "notes.txt").write_text("no log\n")
    assert [name for name, _ in tail(tmp_path, lambda name: name.startswith("v"))] == ["video-1"]
    assert list(tail(tmp_path / "nowhere")) == []


def test_what_a_dead_worker_left_without_a_line_end_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\nFatal \xff error")
    assert list(tail(tmp_path)) == [("a", "one"), ("a", "Fatal \\xff error")]


def test_a_time_in_the_far_future_does_not_hide_the_other_workers(tmp_path: Path) -> None:
    write(tmp_path / "a.log", stamp(1), "2999-01-01 00:00:00 is when it is due", stamp(2))
    write(tmp_path / "b.log", stamp(3))
    assert [name for name, _ in tail(tmp_path, n=2)] == ["a", "b"]


@given(st.lists(st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"\n")), max_size=4), st.integers(0, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_lines_are_the_last_of_all(tmp_path: Path, files: list[bytes], n: int) -> None:
    expected: list[str] = []
    for number, data in enumerate(files):
        Path(f"{tmp_path}/x.log.{len(files) - number}").write_bytes(data)
        parts = data.split(b"\n")
        expected += [part.decode(errors="backslashreplace") for part in (parts if parts[-1] else parts[:-1])]
    for number in range(len(files) + 1, 5):
        Path(f"{tmp_path}/x.log.{number}").unlink(missing_ok=True)
    (tmp_path / "x.log").touch()
    assert [line for _, line in tail(tmp_path)] == expected
    assert [line for _, line in tail(tmp_path, n=n)] == expected[len(expected) - n if n < len(expected) else 0 :]


def test_the_last_lines_of_a_large_file_are_whole(tmp_path: Path) -> None:
    write(tmp_path / "a.log", *(f"{stamp(number)} {'x' * 7000}" for number in range(100)))
    assert [line[:40] for _, line in tail(tmp_path, n=30)] == [stamp(number)[:40] for number in range(70, 100)]


def test_the_last_lines_of_one_file_are_found_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, "x" * 100_000, "one ", "", "two")
    assert last_lines(path, 2) == ["one", "two"]
    assert last_lines(tmp_path / "none", 2) == []


# --- Following --------------------------------------------------------------------------------------------


def lines(follower: Follower) -> list[str]:
    return [line for _, line in follower.poll()]


def test_the_backlog_ends_where_following_begins(tmp_path: Path) -> None:
    write(tmp_path / "a.log", "1", "2")
    with (tmp_path / "a.log").open("a") as file:
        file.write("3, not yet ")
    follower = Follower(tmp_path)
    write(tmp_path / "a.log", "ended", "4")
    assert [line for _, line in follower.backlog(n=5)] == ["1", "2"]
    assert lines(follower) == ["3, not yet ended", "4"]
    assert lines(follower) == []
    follower.close()


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    with (tmp_path / "a.log").open("ab", buffering=0) as file:
        file.write(b"gr\xc3")
        assert lines(follower) == []
        file.write(b"\xbcn\nand")
        assert lines(follower) == ["grün"]
    assert follower.close() == [("a", "and")]


def test_new_workers_appear_as_they_come(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "logs", lambda name: name != "b-1")
    assert follower.poll() == []
    (tmp_path / "logs").mkdir()
    write(tmp_path / "logs" / "a-1.log", "first")
    write(tmp_path / "logs" / "b-1.log", "unwanted")
    assert follower.poll() == [("a-1", "first")]
    follower.close()


@pytest.mark.parametrize("rotations", [1, 2, 5])
def test_no_line_is_lost_or_doubled_however_many_rotations_lie_between_two_polls(
    tmp_path: Path, rotations: int
) -> None:
    path = tmp_path / "a.log"
    write(path, "old")
    rotate(path)
    write(path, "seen")
    follower = Follower(tmp_path)
    expected = []
    for number in range(rotations):
        write(path, f"before {number}")
        rotate(path)
        write(path, f"after {number}")
        expected += [f"before {number}", f"after {number}"]
    assert lines(follower) == expected
    assert lines(follower) == []
    follower.close()


def test_files_that_were_rotated_away_entirely_do_not_confuse_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, "seen")
    follower = Follower(tmp_path)
    for number in range(10):
        rotate(path, keep=4)
        write(path, str(number))
    assert lines(follower) == ["6", "7", "8", "9"]
    follower.close()


def test_what_is_written_to_a_rotated_file_by_a_process_that_has_not_noticed_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    follower = Follower(tmp_path)
    with path.open("a") as late:
        rotate(path)
        write(path, "new")
        assert lines(follower) == ["new"]
        late.write("late\n")
        late.flush()
        assert lines(follower) == ["late"]
        Path(f"{path}.1").unlink()
        late.write("later\n")
        late.flush()
        assert lines(follower) == ["later"]
    follower.close()


def test_an_unfinished_line_before_a_rotation_is_not_held_back_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    follower = Follower(tmp_path)
    path.write_text("half")
    assert lines(follower) == []
    rotate(path)
    write(path, "next")
    assert lines(follower) == ["half", "next"]
    follower.close()


def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, "a long line that was there")
    follower = Follower(tmp_path)
    path.write_text("new\n")
    assert lines(follower) == ["new"]
    follower.close()


def test_a_file_deleted_and_made_anew_is_read_from_its_start_and_the_old_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, "old")
    rotate(path)
    follower = Follower(tmp_path)
    path.unlink()
    assert lines(follower) == []
    write(path, "new")
    assert lines(follower) == ["new"]
    path.unlink()
    Path(f"{path}.1").unlink()
    write(path, "newer")
    assert lines(follower) == ["newer"]
    follower.close()


def test_lines_of_one_poll_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    write(tmp_path / "a.log", stamp(2, "a"), "  more", stamp(5, "a"))
    write(tmp_path / "b.log", stamp(1, "b"), stamp(3, "b"))
    assert [name for name, _ in follower.poll()] == ["b", "a", "a", "b", "a"]
    follower.close()


def test_more_than_one_gulp_is_read_in_order_over_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    follower = Follower(tmp_path)
    write(path, *(f"{number:0100}" for number in range(30_000)))
    rotate(path)
    write(path, "last")
    found: list[str] = []
    while not found or found[-1] != "last":
        found += lines(follower)
    assert found == [*(f"{number:0100}" for number in range(30_000)), "last"]
    follower.close()


def test_lines_keep_their_order_though_files_move_on_while_they_are_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, "1")
    follower = Follower(tmp_path)
    rotate(path)
    write(path, "2")
    looking = True

    def move_on(event: str, args: tuple[object, ...]) -> None:
        nonlocal looking
        if looking and event == "open" and args[0] == f"{path}.1":
            looking = False
            rotate(path)
            write(path, "3")
            rotate(path)
            write(path, "4")

    sys.addaudithook(move_on)  # told of each file before it is opened
    found = lines(follower) + lines(follower)
    assert not looking
    assert found == ["2", "3", "4"]


@pytest.mark.slow
def test_a_follower_keeps_up_with_a_writer_that_rotates_at_random(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    follower = Follower(tmp_path)
    done = threading.Event()

    def work() -> None:
        dice = random.Random(4)
        for number in range(3000):
            write(path, str(number))
            if dice.random() < 0.05:
                rotate(path, keep=200)
        done.set()

    writer = threading.Thread(target=work)
    writer.start()
    found = [line for _, line in follow(follower, lambda seconds: done.wait(seconds / 50), done.is_set)]
    writer.join()
    assert found == [str(number) for number in range(3000)]


@pytest.mark.slow
def test_a_follower_sees_every_line_of_four_processes_that_share_a_log(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from celeryfleet.logs.write import install
install(Path(sys.argv[1]), 20_000, 200)
for name in "abcd":
    if not os.fork():
        for number in range(3000):
            print(name, number, "x" * (number % 50))
        sys.stdout.flush()
        os._exit(0)
for name in "abcd":
    os.wait()
"""
    follower = Follower(tmp_path)
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "web-1.log")]) as process:

        def pause(seconds: float) -> None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds / 10)

        found = [line for _, line in follow(follower, pause, lambda: process.poll() is not None)]
    assert Counter(found) == Counter(
        f"{name} {number} {'x' * (number % 50)}" for name in "abcd" for number in range(3000)
    )
    assert len(list(tmp_path.iterdir())) > 10


def test_following_ends_when_nothing_is_left_and_waits_longer_while_nothing_comes(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    pauses: list[float] = []
    last_words: list[Callable[[], None]] = [lambda: write(path, "said while stopping")]

    def over() -> bool:
        if len(pauses) < 12:
            return False
        while last_words:
            last_words.pop()()
        return True

    assert list(follow(Follower(tmp_path), pauses.append, over)) == [("a", "said while stopping")]
    assert pauses[0] < pauses[5] <= pauses[10] == 0.2
    assert pauses[-1] == 0.05
