"""Findings as a whole: none where all is well, in order, with their place; and comments that silence them."""

from __future__ import annotations

import pytest

from celeryfleet.lint import Finding, Level, judged, lint
from celeryfleet.lint.ignores import silence
from celeryfleet.lint.registry import CODES
from celeryfleet.plan.build import build
from tests import ROOT
from tests.unit.lint.cases import PLAIN, names
from tests.unit.plan.fleets import FACTS, fleet_of


def test_a_sound_fleet_has_no_findings() -> None:
    assert names(PLAIN, routes=[{"task": "shop.*", "queue": "video"}]) == []


@pytest.mark.parametrize("name", ["demo", "priorities", "app"])
def test_no_template_has_a_warning(name: str) -> None:
    fleet = fleet_of((ROOT / f"celeryfleet/cli/templates/{name}.yaml").read_text())
    assert [found for found in lint(fleet, build(fleet, FACTS)) if found.level is Level.WARNING] == []


def test_a_finding_says_where_what_and_what_to_do() -> None:
    text = "name: shop\nqueues:\n  default:\n  video:\ndefault_queue: default\npools:\n  web: {queues: [default]}\n"
    fleet = fleet_of(text)
    (finding,) = lint(fleet, build(fleet, FACTS))
    assert str(finding) == (
        f'{fleet.where("queues", "video")}: warning: no pool reads the queue "video": its tasks wait for ever. '
        "Add it to the `queues` of a pool, or remove it. [CF010 queue-unread]"
    )
    assert finding.file.endswith("fleet.yaml")
    assert (finding.line, finding.column) == (4, 3)


def test_findings_come_by_level_and_then_by_line() -> None:
    text = (
        "queues:\n  default:\n  a:\n  b: {max_length: 5}\n"
        "pools:\n  web: {queues: [default, b], prefetch_multiplier: 4, time_limit: 20m}\n"
    )
    fleet = fleet_of(text)
    assert [(f.level, f.line) for f in lint(fleet, build(fleet, FACTS))] == [
        ("warning", 3),
        ("warning", 4),
        ("info", 6),
        ("info", 6),
        ("info", 6),
    ]


def test_codes_and_names_are_unique_and_well_formed() -> None:
    assert len({rule.name for rule in CODES.values()}) == len(CODES)
    assert all(len(code) == 5 and code[:2] == "CF" and code[2:].isdecimal() for code in CODES)


# --- Silence ----------------------------------------------------------------------------------------------

UNREAD = Finding("CF010", "queue-unread", Level.WARNING, "fleet.yaml:3:3", "what", "hint")


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\nc: # celeryfleet: ignore[CF010] why not\n",
        "a\nb\nc:  #celeryfleet:ignore[cf010]\n",
        "a\nb\nc: # celeryfleet: ignore[CF020, queue-unread]\n",
        "a\n  # celeryfleet: ignore[CF010] stands above\nc:\n",
    ],
)
def test_a_comment_silences_a_finding_of_its_line(text: str) -> None:
    assert silence([UNREAD], {"fleet.yaml": text}, ()) == ([], [UNREAD])


@pytest.mark.parametrize(
    "text",
    [
        "a\nb # celeryfleet: ignore[CF010]\nc:\n",
        "a\nb\nc: # celeryfleet: ignore[CF020]\n",
        "a\nb\nc: '#celeryfleet: ignore[CF010]'\n",
    ],
)
def test_no_other_comment_does(text: str) -> None:
    assert silence([UNREAD], {"fleet.yaml": text}, ()) == ([UNREAD], [])
    right = "a\nb\nc: # celeryfleet: ignore[CF010]\n"
    assert silence([UNREAD], {"other.yaml": right}, ()) == ([UNREAD], [])


def test_an_error_cannot_be_silenced() -> None:
    error = Finding("CF010", "queue-unread", Level.ERROR, "fleet.yaml:3:3", "what", "hint")
    assert silence([error], {"fleet.yaml": "a\nb\nc: # celeryfleet: ignore[CF010]\n"}, ())[0] == [error]


def test_a_comment_that_silences_nothing_is_told_where_that_can_be_known() -> None:
    text = "a\nb # celeryfleet: ignore[CF010]\nc # celeryfleet: ignore[CF022, nonsense]\nd # celeryfleet: ignore\n"
    told, _ = silence([], {"fleet.yaml": text}, judged(None, None, None))
    assert [(f.name, f.where, f.what) for f in told] == [
        ("unused-ignore", "fleet.yaml:2:3", "nothing is found here that ignore[CF010] could silence."),
        ("unused-ignore", "fleet.yaml:3:3", 'there is no finding "nonsense" to ignore.'),
        ("unused-ignore", "fleet.yaml:4:3", "it does not say what to ignore."),
    ], "CF022 needs the app, which is not known"
    told, _ = silence([], {"fleet.yaml": text}, judged(PLAIN, None, None))
    assert len(told) == 4
