"""A little of `make fuzz`, the same each time."""

from __future__ import annotations

import pytest

from tests.fuzz import TARGETS, fuzz

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TARGETS)
def test_no_text_breaks_a_reader(name: str) -> None:
    fuzz(name, seed=None, examples=60)
