from __future__ import annotations

import json
import logging
import sys

from celeryfleet.worker.jsonlog import JsonFormatter

KEYS = ["time", "level", "worker", "process", "logger", "message", "task_id", "task", "exc"]


def record(message: str, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("celery.worker", logging.INFO, "x.py", 1, message, args, None)
    made.created = 1_700_000_000.25
    return made


def test_a_record_is_one_object_with_all_keys_in_order() -> None:
    line = JsonFormatter("web-1").format(record("Task %s\nreceived", "ä"))
    assert "\n" not in line
    assert list(json.loads(line)) == KEYS
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "worker": "web-1",
        "process": "MainProcess",
        "logger": "celery.worker",
        "message": "Task ä\nreceived",
        "task_id": None,
        "task": None,
        "exc": None,
    }


def test_a_record_about_a_task_names_it() -> None:
    made = record("Task succeeded")
    made.data = {"id": "42", "name": "shop.add"}
    found = json.loads(JsonFormatter("web-1").format(made))
    assert (found["task_id"], found["task"]) == ("42", "shop.add")


def test_an_error_brings_its_traceback() -> None:
    made = record("failed")
    try:
        raise ValueError("no")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert json.loads(JsonFormatter("web-1").format(made))["exc"].endswith("ValueError: no")
