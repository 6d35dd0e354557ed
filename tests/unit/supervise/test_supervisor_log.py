"""What the supervisor writes to its log, where the disk allows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from celeryfleet.plan.values import LogPlan
from celeryfleet.supervise.supervisor_log import shift

_SPEAK = """
import sys
from pathlib import Path
from celeryfleet.plan.values import LogPlan
from celeryfleet.supervise.supervisor_log import say, speak_into
file = Path(sys.argv[1])
speak_into(file)
for number in range(300):
    say(f"line {number}\\nand \\udcff é", file, LogPlan(max_size=2000, max_files=3))
"""


def test_the_log_is_shifted_and_the_oldest_file_dropped(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.log"
    subprocess.run(
        [sys.executable, "-c", _SPEAK, str(file)], check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "supervisor.log",
        "supervisor.log.1",
        "supervisor.log.2",
    ]
    assert all(path.stat().st_size < 2200 for path in tmp_path.iterdir())
    assert "line 299" in file.read_text()
    first, last = (tmp_path / "supervisor.log.1").read_text().splitlines()[-2:]
    assert first[24:].startswith("line ")
    assert last[24:] == "and \\udcff é"


def test_a_full_disk_does_not_stop_supervision() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _SPEAK.replace("speak_into(file)\n", ""), "/nonexistent/supervisor.log"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_single_file_is_dropped_when_it_is_full(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    assert not shift(file, LogPlan(max_size=3, max_files=1))
    file.write_text("four")
    assert shift(file, LogPlan(max_size=3, max_files=1))
    assert list(tmp_path.iterdir()) == []
