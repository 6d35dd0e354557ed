"""What became of a task, as it is printed."""

from __future__ import annotations

import json

import pytest

from celeryfleet.cli.send import print_document
from celeryfleet.client.outcome import Outcome


def test_a_document_is_json_for_everyone_whatever_a_task_returned(capsys: pytest.CaptureFixture[str]) -> None:
    """`NaN` is read by Python's parser and by no other."""
    found = Outcome("SUCCESS", id="1", result={"a": [float("nan"), float("inf"), 1.5], "b": "NaN"})
    assert print_document(found) == 0

    def refuse(name: str) -> None:
        raise AssertionError(name)

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert told["result"] == {"a": [None, None, 1.5], "b": "NaN"}
