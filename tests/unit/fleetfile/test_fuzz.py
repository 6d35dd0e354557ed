"""Whatever is in a file, it is a fleet or a FleetError."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.beat import Entry
from celeryfleet.fleetfile.load import parse, read
from celeryfleet.fleetfile.model import Fleet, Pool, Queue, Route

pytestmark = pytest.mark.slow

_KEYS = sorted(
    {
        *Fleet.known(),
        *Pool.known(),
        *Queue.known(),
        *Route.known(),
        *Entry.known(),
        "schedule",
        "url",
        "web",
        "a",
    }
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a", "30s", "1GB", "${A}", "${B:-2}", "${", "$$", "redis://h", "topic", "(", "on", "auto"]),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=12,
)
_FLEETS = st.fixed_dictionaries(
    {"queues": st.just({"a": None}) | _VALUES},
    optional={key: _VALUES for key in Fleet.known() if key != "queues"},
)
_WORDS = [
    "queues",
    "pools",
    ":",
    "-",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&",
    "*",
    "<<",
    "!!",
    "!",
    "'",
    '"',
    "|",
    ">",
    "---",
    "...",
    "%YAML",
    "?",
    "#",
    "${",
    "a",
    "b",
    "1",
    "~",
    "&a",
    "*a",
]
_TOKENS = st.lists(st.sampled_from([*_WORDS, ": ", "- ", "\n", "  ", "\t", "\x85", "\u2028", "\r"]), max_size=40).map(
    "".join
)


def parsed(text: str) -> None:
    with suppress(FleetError):
        fleet = parse(text, "fleet.yaml", {"A": "a"}, opened=lambda name: text, override=(text, "fleet.override.yaml"))
        assert fleet.default_queue in fleet.queues


@given(st.text())
def test_any_text(text: str) -> None:
    parsed(text)


@given(_TOKENS)
def test_any_yaml_like_text(text: str) -> None:
    parsed(text)
    parsed(f"queues: {{a: }}\n{text}")


@given(_FLEETS)
def test_any_value_under_any_key(data: Any) -> None:
    with suppress(yaml.YAMLError):
        parsed(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_bytes(data)
    with suppress(FleetError):
        read(file, {})
