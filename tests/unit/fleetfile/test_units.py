"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.fleetfile.units import BYTES, SECONDS, duration, size

_PARTS = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["d", "h", "m", "s", "ms"])), min_size=1, max_size=5
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30s", 30),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("1w", 604_800),
        (" 20 m ", 1200),
    ],
)
def test_a_duration_has_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "30", "1h30", "1 parsec", "-1s", "1e3s", "1:30", "1,5s", "x" * 999, "9" * 999]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        duration(text)


@given(_PARTS, st.sampled_from(["", " "]))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]], between: str) -> None:
    text = between.join(f"{number}{unit}" for number, unit in parts)
    assert duration(text) == pytest.approx(sum(number * SECONDS[unit] for number, unit in parts), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("400MB", 400_000_000),
        ("1GiB", 1024**3),
        ("512k", 512_000),
        ("512Ki", 524_288),
        ("1.5 gb", 1_500_000_000),
        ("100B", 100),
        ("0", 0),
    ],
)
def test_a_size_has_units_decimal_or_binary(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "400", "4 bushels", "1GB1MB", "-1B", "MB", "99999999TB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        size(text)


@given(st.integers(0, 1000), st.sampled_from(sorted(BYTES)), st.booleans())
def test_a_size_is_its_number_of_units(number: int, unit: str, upper: bool) -> None:
    assert size(f"{number}{unit.upper() if upper else unit}") == number * BYTES[unit]
