"""What a scrape shows, held against Prometheus's own reader, out of a ledger that was written row by row."""

from __future__ import annotations

import asyncio
import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from celeryfleet.errors import FleetError
from celeryfleet.hosts.messages import HostStatus
from celeryfleet.ledger.store import Store
from celeryfleet.protocol import (
    Backlog,
    BrokerStatus,
    PoolStatus,
    QueueStatus,
    Status,
    SupervisorStatus,
    WorkerStatus,
)
from celeryfleet.web import tally
from celeryfleet.web.metrics import Metrics
from celeryfleet.web.probes import routes
from celeryfleet.worker_protocol import Ran
from tests.machine_services import lacking
from tests.unit.ledger.test_store import NOW, told

MAIL = {"name": "shop.add", "hostname": "shop.host", "queue_name": "mail"}


def worker(name: str, state: str = "ready", **values: Any) -> WorkerStatus:
    return WorkerStatus(name=name, node=f"{name}@shop.host", pid=1, state=state, **values)


STATUS = Status(
    fleet="shop",
    state="degraded",
    supervisor=SupervisorStatus(1, 1.0),
    broker=BrokerStatus("redis://h"),
    pools=(
        PoolStatus(
            "web", ("mail",), 2, 1, (worker("web-1", active=3), worker("web-2", "stuck", restarts=2)), "prefork", 4
        ),
        PoolStatus("beat", (), 1, 1, (worker("beat-1"),), "beat", 1),
    ),
    queues=(QueueStatus("mail", 7, 2, 12.5, 1), QueueStatus("low", 0, 0, None, 0), QueueStatus("far")),
    reason="web: 1 of 2 ready (web-2 stuck)",
    notes=(),
    paused=("low",),
    backlog=Backlog("redis://h"),
)


class Fleet:
    """A ledger that is written to, and the metrics made of it."""

    def __init__(self, path: str) -> None:
        self.store = Store(path, keep=3600, max_size=50_000_000)
        self.status = STATUS
        self.lack = ""
        self.write(told("before", "succeeded", started=NOW, ended=NOW, runtime=5), told("held", "taken"))
        self.metrics = Metrics(self.look, path)

    def look(self) -> Status:
        if self.lack:
            raise FleetError(self.lack)
        return self.status

    def write(self, *rows: list[Any]) -> None:
        self.store.write([("web-1", rows)])

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = text_string_to_metric_families(self.metrics.text()[0].decode())
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}

    def value(self, name: str, labels: dict[str, str]) -> float:
        return self.scrape()[name, frozenset(labels.items())]

    def counts(self, **labels: str) -> dict[str, int]:
        """Return what is counted of a task, but for what is 0."""
        wanted, found = frozenset({**MAIL, **labels}.items()), Counter[str]()
        for (name, one), value in self.scrape().items():
            if one >= wanted and name.endswith("_total") and value:
                found[name.removeprefix("celery_task_").removesuffix("_total")] += int(value)
        return dict(found)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(str(tmp_path / "ledger.sqlite"))
    yield found
    found.store.close()


def test_what_ended_before_or_was_held_already_is_not_counted(fleet: Fleet) -> None:
    assert fleet.counts() == {}
    fleet.write(told("held", "succeeded", started=NOW + 2000, ended=NOW + 2010, runtime=10))
    assert fleet.counts() == {"started": 1, "succeeded": 1}


def test_of_several_hosts_it_tells_how_each_one_is(fleet: Fleet) -> None:
    assert not [name for name, _ in fleet.scrape() if "host_" in name]
    hosts = (
        HostStatus("a", "reporting", 0.0, True, status=STATUS),
        HostStatus("b", "silent", 48.5),
        HostStatus("c", "missing"),
    )
    fleet.metrics = Metrics(fleet.look, None, lambda: hosts)
    assert {name: fleet.value("celeryfleet_host_ready", {"host": name}) for name in "abc"} == {"a": 0, "b": 0, "c": 0}
    assert fleet.value("celeryfleet_host_report_age_seconds", {"host": "b"}) == 48.5
    assert [len(labels) for name, labels in fleet.scrape() if name == "celeryfleet_host_report_age_seconds"] == [1, 1]


def test_each_step_of_a_task_is_counted_once_however_often_it_is_scraped(fleet: Fleet) -> None:
    fleet.write(told("a", "taken"))
    assert fleet.counts() == fleet.counts() == {"sent": 1, "received": 1}
    fleet.write(told("a", "running", started=NOW))
    assert fleet.counts() == fleet.counts() == {"sent": 1, "received": 1, "started": 1}
    fleet.write(told("a", "retrying", started=NOW, retries=1, error="ValueError: no", eta=NOW))
    first_try = {"sent": 1, "received": 1, "started": 1, "retried": 1}
    assert fleet.counts() == fleet.counts() == first_try
    fleet.write(told("a", "failed", started=NOW, retries=1, ended=NOW, runtime=5, error="ValueError: no"))
    fleet.write(told("a", "retrying", started=NOW, retries=1, error="ValueError: no", eta=NOW))  # it comes late
    both = {"sent": 2, "received": 2, "started": 2, "retried": 1, "failed": 1}
    assert fleet.counts() == fleet.counts() == both
    assert fleet.value("celery_task_failed_total", {**MAIL, "exception": "ValueError"}) == 1


def test_every_way_in_which_a_task_ends_has_its_counter(fleet: Fleet) -> None:
    for number, (state, error) in enumerate(
        [
            ("succeeded", None),
            ("failed", "shop's own text without a class"),
            ("failed", "Reject: no"),
            ("revoked", "terminated"),
            ("expired", "expired"),
        ]
    ):
        fleet.write(told(str(number), state, started=NOW, ended=NOW, error=error))
    fleet.store.gone("web-1", [Ran("lost", "shop.add", late=False)], NOW)
    found = fleet.counts()
    assert found == {
        **dict.fromkeys(("sent", "received", "started"), 5),
        "succeeded": 1,
        "failed": 2,
        "rejected": 1,
        "revoked": 2,
    }
    assert fleet.value("celeryfleet_task_lost_total", {**MAIL, "queue_name": ""}) == 1
    assert fleet.value("celery_task_failed_total", {**MAIL, "exception": "UnknownException"}) == 1


def test_times_are_in_the_buckets_that_they_fit(fleet: Fleet) -> None:
    for number, took in enumerate((5, 6, 20_000)):
        fleet.write(told(str(number), "succeeded", started=NOW + 60_000, ended=NOW, runtime=took))
    fleet.write(told("due", "succeeded", eta=NOW + 59_000, started=NOW + 60_000, ended=NOW, runtime=5))
    assert fleet.value("celery_task_runtime_bucket", {**MAIL, "le": "0.005"}) == 2
    assert fleet.value("celery_task_runtime_bucket", {**MAIL, "le": "0.01"}) == 3
    assert fleet.value("celery_task_runtime_bucket", {**MAIL, "le": "10.0"}) == 3
    assert fleet.value("celery_task_runtime_bucket", {**MAIL, "le": "+Inf"}) == 4
    assert math.isclose(fleet.value("celery_task_runtime_sum", MAIL), 20.016)
    assert fleet.value("celery_task_queue_wait_time_bucket", {**MAIL, "le": "1.0"}) == 1
    assert fleet.value("celery_task_queue_wait_time_bucket", {**MAIL, "le": "60.0"}) == 4


def test_a_fleet_its_queues_and_its_workers_are_shown_as_they_are_now(fleet: Fleet) -> None:
    found = fleet.scrape()

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    web = {"hostname": "shop.host"}
    assert value("celery_worker_up", **web, worker="web-1") == 1
    assert value("celery_worker_up", **web, worker="web-2") == 0
    assert value("celery_worker_tasks_active", **web, worker="web-1") == 3
    assert value("celeryfleet_worker_restarts_total", **web, worker="web-2") == 2
    assert value("celery_queue_length", queue_name="mail") == 7
    assert value("celery_active_worker_count", queue_name="mail") == 1
    assert value("celery_active_process_count", queue_name="mail") == 4
    assert value("celeryfleet_queue_unacked", queue_name="mail") == 2
    assert value("celeryfleet_queue_oldest_age_seconds", queue_name="mail") == 12.5
    assert value("celeryfleet_queue_oldest_age_seconds", queue_name="low") == 0
    assert value("celeryfleet_queue_paused", queue_name="low") == 1
    assert value("celeryfleet_workers", pool="web", state="stuck") == 1
    assert (value("celeryfleet_workers_wanted", pool="web"), value("celeryfleet_workers_ready", pool="web")) == (2, 1)
    assert value("celeryfleet_ready") == 0
    assert ("celery_queue_length", frozenset({("queue_name", "far")})) not in found  # nobody knows
    assert not [labels for name, labels in found if name == "celery_worker_up" and ("worker", "beat-1") in labels]
    fleet.status = STATUS.but(pools=STATUS.pools[1:])
    assert not [labels for name, labels in fleet.scrape() if ("worker", "web-1") in labels]


def test_names_of_strangers_take_no_more_than_a_bounded_memory(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_MOST", 3)
    monkeypatch.setattr(tally, "_ROWS", 4)
    for number in range(9):
        error = f"Error{number}: no"
        fleet.write(told(str(number), "failed", task=f'"{number}\n', started=NOW, ended=NOW, error=error))
    found = {name: value for (name, _), value in fleet.scrape().items() if name == "celery_task_failed_total"}
    counts = [value for (name, _), value in fleet.scrape().items() if name == "celery_task_failed_total"]
    assert found
    assert sorted(counts) == [1, 1, 1, 6]


def test_a_ledger_that_begins_anew_is_read_from_its_start(tmp_path: Path, fleet: Fleet) -> None:
    fleet.write(*(told(str(number), "succeeded", ended=NOW) for number in range(5)))
    assert fleet.counts()["succeeded"] == 5
    fleet.store.close()
    for file in tmp_path.glob("ledger*"):
        file.unlink()
    fleet.store = Store(str(tmp_path / "ledger.sqlite"), keep=3600, max_size=50_000_000)
    fleet.write(told("new", "succeeded", ended=NOW))
    assert fleet.counts()["succeeded"] == 6


def test_a_ledger_that_cannot_be_read_is_told_and_the_counts_stay(tmp_path: Path, fleet: Fleet) -> None:
    fleet.write(told("a", "succeeded", ended=NOW))
    assert fleet.counts()["succeeded"] == 1
    fleet.store.close()
    (tmp_path / "ledger.sqlite").write_bytes(b"no database " * 1000)
    assert fleet.value("celeryfleet_ledger_readable", {}) == 0
    assert fleet.counts()["succeeded"] == 1


def test_both_formats_are_what_their_readers_take(fleet: Fleet) -> None:
    fleet.write(told("a", "failed", task='x"\\\n', started=NOW, ended=NOW, error="ValueError: no"))
    fleet.write(told("b", "succeeded", started=NOW, ended=NOW, runtime=5))
    body, kind = fleet.metrics.text("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = openmetrics.text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    assert len([*families]) > 20


def test_promtool_finds_nothing_wrong_but_names_that_are_celery_exporters(fleet: Fleet) -> None:
    fleet.write(told("a", "succeeded", started=NOW, ended=NOW, runtime=5))
    program = shutil.which("promtool") or lacking("needs promtool")
    done = subprocess.run(
        [program, "check", "metrics"], input=fleet.metrics.text()[0], capture_output=True, check=False
    )
    found = (done.stdout + done.stderr).decode().splitlines()
    theirs = [f"celery_active_{what}_count" for what in ("consumer", "process", "worker")]
    assert sorted(line.partition(" ")[0] for line in found) == theirs
    assert all(line.endswith('should not have "_count" suffix') for line in found)


def test_probes_tell_readiness_with_its_reason(fleet: Fleet) -> None:
    served = httpx.ASGITransport(Starlette(routes=routes(fleet.look, fleet.metrics)))

    async def ask(path: str) -> tuple[int, str]:
        async with httpx.AsyncClient(transport=served, base_url="http://test") as client:
            found = await client.get(path)
        return found.status_code, found.text

    def get(path: str) -> tuple[int, str]:
        return asyncio.run(ask(path))

    assert get("/readyz") == (503, "web: 1 of 2 ready (web-2 stuck)\n")
    assert get("/healthz") == (200, "ok\n")
    assert "celery_worker_up{" in get("/metrics")[1]
    fleet.status = STATUS.but(state="ready", reason="")
    assert get("/readyz") == (200, "shop is ready\n")
    fleet.lack = "the fleet is not running."
    assert [get(path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 503, 503]
