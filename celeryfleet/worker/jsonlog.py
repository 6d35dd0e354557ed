"""Writes a worker's log records as one JSON object per line; knows logging and loguru, not files."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from celeryfleet.logs.write import LogStream


class JsonFormatter(logging.Formatter):
    """One object per record, always with the same keys, in the same order."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        task_id, task = _task(record)
        return _line(
            time=datetime.fromtimestamp(record.created, UTC),
            level=record.levelname,
            worker=self._worker,
            process=record.processName,
            logger=record.name,
            message=record.getMessage(),
            task_id=task_id,
            task=task,
            exc=self.formatException(record.exc_info) if record.exc_info else record.exc_text,
        )


def log_as_json(streams: Collection[object] = ()) -> None:
    """Have Celery's handlers, and loguru's default one, write JSON; handlers of the user's own are left alone.

    Celery's are those that write to a log file of the fleet's, or to one of `streams`.
    """
    from celery import signals

    worker = os.environ.get("CELERYFLEET_WORKER", "")
    formatter = JsonFormatter(worker)

    def change(logger: logging.Logger | None = None, **_: object) -> None:
        for handler in logger.handlers if logger else ():
            stream = getattr(handler, "stream", None)
            if isinstance(stream, LogStream) or stream in streams:
                handler.setFormatter(formatter)
        if "loguru" in sys.modules:
            _change_loguru(worker)

    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(change, weak=False, dispatch_uid="celeryfleet-json")


def _change_loguru(worker: str) -> None:
    from loguru import logger

    def sink(message: Any) -> None:
        record = message.record
        error = record["exception"]
        task_id, task = _current_task()
        line = _line(
            time=record["time"].astimezone(UTC),
            level=record["level"].name,
            worker=worker,
            process=record["process"].name,
            logger=record["name"],
            message=record["message"],
            task_id=task_id,
            task=task,
            exc="".join(traceback.format_exception(*error)).rstrip() if error else None,
        )
        print(line, file=sys.__stderr__)

    try:
        logger.remove(0)
    except ValueError:  # the user has replaced the default handler, or this ran before
        return
    logger.add(sink, format="{message}", level="DEBUG")


def _line(*, time: datetime, message: str, **fields: str | None) -> str:
    stamp = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    order = ("level", "worker", "process", "logger")
    whole = {"time": stamp, **{key: fields.pop(key) for key in order}, "message": message, **fields}
    return json.dumps(whole, ensure_ascii=False, default=str)


def _task(record: logging.LogRecord) -> tuple[str | None, str | None]:
    """Say which task a record is about: its own data, as Celery's records have it, or the one that runs."""
    data = getattr(record, "data", None)
    if isinstance(data, dict) and "id" in data:
        return data["id"], data.get("name")
    return _current_task()


def _current_task() -> tuple[str | None, str | None]:
    from celery import current_task

    if not current_task or not current_task.request.id:
        return None, None
    return current_task.request.id, current_task.name
