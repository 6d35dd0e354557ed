"""What the tasks wrote down, and what it says about those that were sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from chaos.schedule import EARLY, LATE


class Ledger:
    """The file in which tasks write that they begin and end; read from where it was last read to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def read(self) -> bool:
        """Take in what is new; tell whether there was anything."""
        if not self._path.exists():
            return False
        with self._path.open("rb") as file:
            file.seek(self._position)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.decode().splitlines():
            what, task, *_ = line.split()
            (self.begun if what == "begin" else self.ended)[task] += 1
        return bool(whole)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the tasks that the broker had confirmed."""

    sent: int
    done: int
    #: acknowledged late, and nowhere to be found: none may be
    lost: tuple[str, ...]
    #: not done, but still in the broker when all should have been: none may be
    left: tuple[str, ...]
    #: acknowledged early, begun, and killed: as it has to be
    cut_short: tuple[str, ...]
    #: acknowledged early, and not begun as far as the ledger knows: a kill between the two may do it
    not_begun: tuple[str, ...]
    #: done more than once, by how they acknowledge
    doubled_late: tuple[str, ...]
    doubled_early: tuple[str, ...]


def judge(sent: Collection[str], ledger: Ledger, kept: Collection[str]) -> Verdict:
    """Hold the ledger against what was sent and against the ids that the broker still keeps."""
    open_ = [task for task in sent if not ledger.ended[task]]
    gone = [task for task in open_ if task not in kept]
    twice = [task for task, times in ledger.ended.items() if times > 1]
    return Verdict(
        sent=len(sent),
        done=len(sent) - len(open_),
        lost=tuple(task for task in gone if task.startswith(LATE)),
        left=tuple(task for task in open_ if task in kept),
        cut_short=tuple(task for task in gone if task.startswith(EARLY) and ledger.begun[task]),
        not_begun=tuple(task for task in gone if task.startswith(EARLY) and not ledger.begun[task]),
        doubled_late=tuple(task for task in twice if task.startswith(LATE)),
        doubled_early=tuple(task for task in twice if task.startswith(EARLY)),
    )
