"""What the parts of a supervisor share."""

from __future__ import annotations

import re

import pytest

from celeryfleet.supervise.core import Core
from tests.unit.supervise.histories import plan, pool


def test_each_line_of_the_supervisors_log_has_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    Core(plan(pool()), lambda: None).say("one\ntwo")
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} one", first)
    assert second == first.replace("one", "two")
