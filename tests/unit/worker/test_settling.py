"""What a worker's settings come to: held against Celery's own settings of an app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.worker.settling import settled
from celeryfleet.worker_protocol import LogFile, Start

DEFAULTS: dict[str, object] = {"worker_pool": "prefork", "worker_concurrency": 1}
ARGV = ("celery", "worker", "-c", "1", "-P", "prefork", "--without-gossip", "--without-heartbeat")


def settle(tmp_path: Path, own: dict[str, Any], conf: dict[str, Any] | None = None, namespace: str = "") -> Any:
    """Settle an app with settings of its own; return it and the message."""
    app = Celery("shop", broker="amqp://host", set_as_current=False)
    app.config_from_object(own, namespace=namespace or None)
    log = LogFile(str(tmp_path / "log"), 1, 1)
    options: dict[str, object] = {"without_gossip": True, "without_heartbeat": True}
    start = Start("web-1", ARGV, options, conf or {}, {}, log, "text", "", 1.0, 1.0, "", DEFAULTS)
    return app, settled(app, start)


@pytest.mark.parametrize(
    ("own", "namespace"),
    [
        ({"worker_pool": "threads", "worker_concurrency": 24}, ""),
        ({"CELERYD_POOL": "threads", "CELERYD_CONCURRENCY": 24}, ""),
        ({"CELERY_WORKER_POOL": "threads", "CELERY_WORKER_CONCURRENCY": 24}, "CELERY"),
        ({"worker_pool": "celery.concurrency.thread:TaskPool", "worker_concurrency": 24}, ""),
    ],
)
def test_what_the_app_says_is_found_by_any_of_its_names(tmp_path: Path, own: dict[str, Any], namespace: str) -> None:
    app, start = settle(tmp_path, own, namespace=namespace)
    assert (app.conf.worker_pool, app.conf.worker_concurrency) == ("threads", 24)
    assert start.argv[2:6] == ("-c", "24", "-P", "threads")


def test_fleet_yaml_goes_before_the_app_and_the_app_before_our_defaults(tmp_path: Path) -> None:
    app, _ = settle(tmp_path, {"worker_pool": "solo", "worker_concurrency": None}, {"worker_pool": "threads"})
    assert (app.conf.worker_pool, app.conf.worker_concurrency) == ("threads", 1)


def test_a_worker_that_sends_events_sends_heartbeats_too(tmp_path: Path) -> None:
    _, start = settle(tmp_path, {"worker_send_task_events": True})
    assert (start.options, start.argv[-1]) == ({"without_gossip": True}, "--without-gossip")


@pytest.mark.parametrize(("pool", "reduces"), [("threads", False), ("prefork", True)])
def test_threads_do_not_wait_for_rabbitmq_on_the_socket_that_the_main_thread_reads(
    tmp_path: Path, pool: str, reduces: bool
) -> None:
    app, _ = settle(tmp_path, {"worker_pool": pool})
    assert app.conf.worker_enable_prefetch_count_reduction is reduces
