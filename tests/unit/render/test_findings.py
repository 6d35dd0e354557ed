"""What `check` found, as text for a terminal and as annotations of a pull request."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeryfleet.lint import Finding, Level
from celeryfleet.render.findings import as_github, as_text
from celeryfleet.text import written

UNREAD = Finding(
    "CF010",
    "queue-unread",
    Level.WARNING,
    "fleet.yaml:3:5",
    'no pool reads the queue "low": its tasks wait for ever.',
    "Add it to the `queues` of a pool, or remove it.",
)


def test_a_finding_is_one_line_and_its_remedy_another() -> None:
    assert as_text(UNREAD, color=False, width=None) == (
        'warning: fleet.yaml:3:5: no pool reads the queue "low": its tasks wait for ever. [CF010]\n'
        "  Add it to the `queues` of a pool, or remove it."
    )


def test_a_terminal_gets_lines_that_fit_it() -> None:
    assert as_text(UNREAD, color=False, width=60).splitlines() == [
        'warning: fleet.yaml:3:5: no pool reads the queue "low": its',
        "  tasks wait for ever. [CF010]",
        "  Add it to the `queues` of a pool, or remove it.",
    ]
    assert written(as_text(UNREAD, color=True, width=60)).startswith("\x1b[33mwarning:\x1b[0m fleet.yaml")


def test_a_traceback_keeps_its_shape() -> None:
    broken = Finding("CF000", "invalid", Level.ERROR, "", "it fails.", 'It fails here:\n  File "a.py"\n    x = 1')
    assert as_text(broken, color=False, width=60) == (
        'error: it fails. [CF000]\n  It fails here:\n    File "a.py"\n      x = 1'
    )


def test_an_annotation_is_one_line_whatever_it_says() -> None:
    found = Finding("CF010", "queue-unread", Level.INFO, "a,b/c:d.yaml:3:5", "100 % of\nit", "Do: this, that")
    assert as_github(found, {}) == (
        "::notice file=a%2Cb/c%3Ad.yaml,line=3,col=5,title=CF010 queue-unread::100 %25 of%0Ait%0ADo: this, that"
    )


def test_an_annotation_s_path_begins_at_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deploy").mkdir()
    monkeypatch.chdir(tmp_path / "deploy")
    assert "file=deploy/fleet.yaml,line=3" in as_github(UNREAD, {"GITHUB_WORKSPACE": str(tmp_path)})
    assert "file=fleet.yaml,line=3" in as_github(UNREAD, {})
