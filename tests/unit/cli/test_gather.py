"""What `why` finds out on this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from celeryfleet.cli.gather import _running
from celeryfleet.ledger.entry import Entry
from celeryfleet.worker_protocol import Ran


def test_a_worker_is_not_said_to_run_what_the_ledger_and_its_notes_tell_of_two_moments(tmp_path: Path) -> None:
    """One of two processes with short tasks was said to be busy with four."""
    (tmp_path / "running").mkdir()
    for worker, task in (("web-1", "later"), ("mail-1", "other")):
        (tmp_path / "running" / worker).write_bytes(Ran(task, "shop.a", False).encode())
    plan: Any = SimpleNamespace(state_dir=str(tmp_path))
    ledger = cast("Any", SimpleNamespace(held=lambda *_: [Entry("web-1", "now", "shop.a", "mail", "running")]))

    def ids(ledger: Any, written: bool) -> list[str]:
        return [one.id for one in _running(plan, ledger, written)]

    assert ids(ledger, True) == ["now", "other"]
    assert ids(ledger, False) == ["now", "other", "later"], "a ledger that nobody writes lacks the latest"
    assert ids(None, True) == ["other", "later"]
