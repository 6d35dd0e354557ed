from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeryfleet.logs.write import LogFile, LogStream, shift


@pytest.fixture
def fds() -> Iterator[tuple[int, int]]:
    """Give two descriptors that stand for 1 and 2."""
    first, second = os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)
    yield first, second
    os.close(first)
    os.close(second)


def files(path: Path) -> list[Path]:
    """List a log's files, oldest first."""
    rotated = [name for name in path.parent.iterdir() if name.name.startswith(f"{path.name}.")]
    rotated.sort(key=lambda name: -int(name.suffix[1:]))
    return [*rotated, path]


def text(path: Path) -> str:
    return "".join(file.read_text() for file in files(path))


def run(code: str, *args: object) -> None:
    """Run code in a Python of its own, since it takes over stdout and stderr."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_line_is_written_whole_when_its_end_comes(tmp_path: Path, fds: tuple[int, int]) -> None:
    log = LogFile(tmp_path / "a.log", 1000, 3, fds)
    out = LogStream(log, fds[0], "<stdout>")
    print("one", "two", file=out, end="")
    assert text(tmp_path / "a.log") == ""
    print(" three", file=out)
    out.write("four\nfi")
    assert text(tmp_path / "a.log") == "one two three\nfour\n"
    out.flush()
    assert text(tmp_path / "a.log") == "one two three\nfour\nfi"


def test_threads_do_not_mix_their_unfinished_lines(tmp_path: Path, fds: tuple[int, int]) -> None:
    out = LogStream(LogFile(tmp_path / "a.log", 1 << 20, 3, fds), fds[0], "<stdout>")
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        barrier.wait()
        for number in range(500):
            for part in (name, " ", str(number), "\n"):
                out.write(part)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(text(tmp_path / "a.log").splitlines()) == Counter(f"{n} {i}" for n in "abcd" for i in range(500))


def test_a_line_without_an_end_is_not_kept_for_ever(tmp_path: Path, fds: tuple[int, int]) -> None:
    out = LogStream(LogFile(tmp_path / "a.log", 1 << 20, 3, fds), fds[0], "<stdout>")
    for _ in range(20_000):
        out.write(".")
    assert len(text(tmp_path / "a.log")) >= 10_000


def test_it_passes_for_a_text_stream(tmp_path: Path, fds: tuple[int, int]) -> None:
    out = LogStream(LogFile(tmp_path / "a.log", 1000, 3, fds), fds[0], "<stdout>")
    assert (out.encoding, out.isatty(), out.fileno(), out.writable(), out.closed) == (
        "utf-8",
        False,
        fds[0],
        True,
        False,
    )
    out.reconfigure(encoding="latin-1")
    out.writelines(["ä\n", "\udcff\n"])
    assert out.buffer.write(b"\xff\n") == 2
    out.buffer.flush()
    out.close()
    assert out.write("still open\n") == 11
    with pytest.raises(TypeError, match="must be str, not bytes"):
        out.write(b"bytes")  # type: ignore[arg-type]
    assert (tmp_path / "a.log").read_bytes() == "ä\n\\udcff\n".encode() + b"\xff\nstill open\n"


def test_a_full_file_is_renamed_and_only_so_many_are_kept(tmp_path: Path, fds: tuple[int, int]) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, 10, 3, fds)
    for number in range(10):
        log.write(fds[number % 2], b"line %d\n" % number)
    assert [(file.name, file.read_text()) for file in files(path)] == [
        ("a.log.2", "line 7\n"),
        ("a.log.1", "line 8\n"),
        ("a.log", "line 9\n"),
    ]


def test_files_beyond_a_lowered_limit_go(tmp_path: Path, fds: tuple[int, int]) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, 10, 9, fds)
    for number in range(10):
        log.write(fds[0], b"line %d\n" % number)
    log.redirect(path, 10, 3)
    log.write(fds[0], b"line 10\n")
    assert [file.name for file in files(path)] == ["a.log.2", "a.log.1", "a.log"]


def test_a_gap_that_a_killed_process_left_is_filled(tmp_path: Path, fds: tuple[int, int]) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, 10, 9, fds)
    for number in range(5):
        log.write(fds[0], b"line %d\n" % number)
    (tmp_path / "a.log.2").unlink()
    log.write(fds[0], b"line 5\n")
    assert text(path) == "line 0\nline 1\nline 3\nline 4\nline 5\n"
    assert [file.name for file in files(path)] == ["a.log.4", "a.log.3", "a.log.2", "a.log.1", "a.log"]


def test_one_file_is_kept_where_one_is_asked_for(tmp_path: Path, fds: tuple[int, int]) -> None:
    log = LogFile(tmp_path / "a.log", 10, 1, fds)
    for number in range(3):
        log.write(fds[0], b"line %d\n" % number)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.log", "line 2\n")]


def test_a_deleted_file_is_made_anew(tmp_path: Path, fds: tuple[int, int]) -> None:
    log = LogFile(tmp_path / "a.log", 1000, 3, fds)
    log.write(fds[0], b"gone\n")
    (tmp_path / "a.log").unlink()
    log.write(fds[1], b"here\n")
    assert text(tmp_path / "a.log") == "here\n"


def test_a_redirected_log_leaves_the_other_file_alone(tmp_path: Path, fds: tuple[int, int]) -> None:
    log = LogFile(tmp_path / "preload.log", 1000, 3, fds)
    err = LogStream(log, fds[1], "<stderr>")
    err.write("before\n")
    log.redirect(tmp_path / "new" / "web-1.log", 1000, 3)
    err.write("after\n")
    assert text(tmp_path / "preload.log") == "before\n"
    assert text(tmp_path / "new" / "web-1.log") == "after\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_costs_lines_but_no_exception_and_is_reported(tmp_path: Path, fds: tuple[int, int]) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, 1000, 3, fds)
    out = LogStream(log, fds[0], "<stdout>")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, fds[0])
    os.close(full)
    out.write("lost 1\nlost 2\n")
    out.write("lost 3\n")
    assert log.dropped == 3
    path.unlink()
    out.write("kept\n")
    assert log.dropped == 0
    notice, kept = text(path).splitlines()
    assert notice.endswith("celeryfleet: 3 lines of this log could not be written: No space left on device")
    assert kept == "kept"


def test_a_line_torn_by_a_full_disk_does_not_swallow_the_next(tmp_path: Path) -> None:
    run(
        """
        import resource, sys
        from pathlib import Path
        from celeryfleet.logs.write import install
        install(Path(sys.argv[1]), 1000, 3)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        print("0123456789 torn")
        print("lost")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("kept")
        """,
        tmp_path / "a.log",
    )
    torn, notice, kept = text(tmp_path / "a.log").splitlines()
    assert (torn, kept) == ("0123456789", "kept")
    assert notice.endswith("2 lines of this log could not be written: File too large")


WRITERS = """
    import os, sys
    from pathlib import Path
    from celeryfleet.logs.write import install
    path, lines = Path(sys.argv[1]), int(sys.argv[2])
    install(path, int(sys.argv[3]), 1000)
    children = []
    for name in "abcd":
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        for number in range(lines):
            if number % 100 == 50:
                os.write(2, f"{name} {number} {'c' * 20}\\n".encode())
            else:
                print(name, number, "x" * (number % 40), file=sys.stderr if number % 3 else sys.stdout)
        sys.stdout.flush()
        os._exit(0)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize(("count", "max_size"), [(5000, 20_000), (400, 200)])
def test_four_processes_lose_and_double_no_line_over_many_rotations(tmp_path: Path, count: int, max_size: int) -> None:
    path = tmp_path / "a.log"
    run(WRITERS, path, count, max_size)
    assert len(files(path)) > 10
    lines = [line.split(" ") for line in text(path).splitlines()]
    assert Counter((name, int(number)) for name, number, _ in lines) == Counter(
        (name, number) for name in "abcd" for number in range(count)
    )
    for name in "abcd":
        # what C code writes may still go to the file before, so only Python's own lines are in order
        own = [int(number) for who, number, _ in lines if who == name and int(number) % 100 != 50]
        assert own == sorted(own)
    assert {file.name.removeprefix("a.log") for file in tmp_path.iterdir()} == {
        "",
        *(f".{number}" for number in range(1, len(files(path)))),
    }


def test_a_killed_writer_leaves_nothing_that_stops_the_others(tmp_path: Path) -> None:
    run(
        """
        import fcntl, os, signal, sys
        from pathlib import Path
        from celeryfleet.logs.write import install
        path = Path(sys.argv[1])
        install(path, 100, 1000)
        pid = os.fork()
        if not pid:
            fcntl.flock(os.open(path, os.O_WRONLY), fcntl.LOCK_EX)  # it dies in the middle of a rotation
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        for number in range(100):
            print("line", number)
        """,
        tmp_path / "a.log",
    )
    assert text(tmp_path / "a.log") == "".join(f"line {number}\n" for number in range(100))
    assert len(files(tmp_path / "a.log")) > 5


def test_everything_a_process_says_ends_in_its_log(tmp_path: Path) -> None:
    run(
        """
        import faulthandler, logging, os, sys
        kept = sys.stderr
        from pathlib import Path
        from celeryfleet.logs.write import install
        install(Path(sys.argv[1]), 10_000, 3)
        import loguru
        logging.warning("from logging")
        loguru.logger.info("from loguru")
        os.system("echo from a child process")
        faulthandler.dump_traceback(all_threads=False)
        install(Path(sys.argv[2]), 10_000, 3)  # as after a fork: loguru keeps the object that it found
        loguru.logger.info("from loguru later")
        print("no end", end="")
        """,
        tmp_path / "first.log",
        tmp_path / "second.log",
    )
    first = text(tmp_path / "first.log")
    for expected in ("WARNING:root:from logging", "from loguru\n", "from a child process\n", "most recent call first"):
        assert expected in first
    assert "later" not in first
    second = text(tmp_path / "second.log")
    assert "from loguru later\n" in second
    assert second.endswith("no end")


def test_a_signal_handler_may_write_while_a_line_is_written(tmp_path: Path) -> None:
    run(
        """
        import signal, sys
        from pathlib import Path
        from celeryfleet.logs.write import install
        install(Path(sys.argv[1]), 5_000, 1000)
        ticks = 0
        def tick(*_):
            global ticks
            ticks += 1
            sys.stderr.write("tick\\n")
        signal.signal(signal.SIGALRM, tick)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        number = 0
        while ticks < 50:
            sys.stderr.write(f"line {number}\\n")
            number += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stderr.write(f"{ticks} {number}\\n")
        """,
        tmp_path / "a.log",
    )
    *lines, last = text(tmp_path / "a.log").splitlines()
    ticks, number = map(int, last.split())
    assert Counter(lines) == Counter({"tick": ticks, **{f"line {n}": 1 for n in range(number)}})


def test_a_fork_leaves_the_parents_unfinished_line_to_the_parent(tmp_path: Path) -> None:
    run(
        """
        import os, sys
        from pathlib import Path
        from celeryfleet.logs.write import install
        install(Path(sys.argv[1]), 5_000, 3)
        print("parent", end="")
        pid = os.fork()
        print(" ends" if pid else "child")
        sys.stdout.flush()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        """,
        tmp_path / "a.log",
    )
    assert sorted(text(tmp_path / "a.log").splitlines()) == ["child", "parent ends"]


@pytest.mark.slow
def test_greenlets_write_whole_lines(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    run(
        """
        from gevent import monkey
        monkey.patch_all()
        import gevent, sys
        from pathlib import Path
        from celeryfleet.logs.write import install
        install(Path(sys.argv[1]), 5_000, 1000)
        def work(name):
            for number in range(200):
                print(name, end="")
                gevent.sleep(0)
                print("", number)
        gevent.joinall([gevent.spawn(work, name) for name in "abcd"])
        """,
        tmp_path / "a.log",
    )
    assert Counter(text(tmp_path / "a.log").splitlines()) == Counter(f"{n} {i}" for n in "abcd" for i in range(200))


def test_other_limits_count_from_now_on(tmp_path: Path) -> None:
    run(
        """
        import sys
        from pathlib import Path
        from celeryfleet.logs import write
        write.limit(1, 1)  # without a log it does nothing
        write.install(Path(sys.argv[1]), 10_000, 3)
        print("kept " * 10)
        write.limit(50, 3)
        print("new")
        """,
        tmp_path / "a.log",
    )
    assert [file.read_text() for file in files(tmp_path / "a.log")] == ["kept " * 10 + "\n", "new\n"]


@pytest.mark.parametrize("max_files", [1, 3])
def test_a_log_is_shifted(tmp_path: Path, max_files: int) -> None:
    path = tmp_path / "a.log"
    for number in range(5):
        path.write_text(str(number))
        shift(path, max_files)
    assert [file.read_text() for file in files(path)[:-1]] == ["3", "4"][: max_files - 1]
    assert not path.exists()
