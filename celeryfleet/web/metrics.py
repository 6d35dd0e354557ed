"""The fleet's metrics: what a scrape and an export by OpenTelemetry show, made of a Status and the ledger.

Tasks, queues and workers have the names and labels of celery-exporter, so that its users' dashboards go on;
what only a fleet knows begins with `celeryfleet_`. A worker that is gone is gone from them, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from celeryfleet.hosts.messages import HostStatus, state_of
from celeryfleet.ledger.read import Ledger
from celeryfleet.protocol import QueueStatus, Status, WorkerStatus
from celeryfleet.web.tally import Tally

_POOL = ("pool",)
_WORKER = ("hostname", "worker")
_STATES = ("starting", "ready", "standby", "stuck", "stopping", "backoff", "failed", "stopped")
#: by the values of labels; what is None is left out
_Values: TypeAlias = Mapping[Any, float | None]


class Metrics(Collector):
    """All metrics of one fleet, made anew when they are asked for; its counters begin at 0 with it."""

    def __init__(
        self, look: Callable[[], Status], ledger: str | None, hosts: Callable[[], Sequence[HostStatus]] = tuple
    ) -> None:
        """Take what says how the fleet and each host is, which may raise FleetError, and the path of its ledger."""
        self._look, self._hosts = look, hosts
        #: unix seconds
        self.began = time.time()
        #: a scrape and an export may come at once
        self._turn = threading.Lock()
        self._tally = Tally(lambda: Ledger(ledger)) if ledger else None

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type, in the format that this Accept header asks for."""
        write, kind = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return write(registry), kind

    def collect(self) -> Iterator[Metric]:
        """Yield the families of metrics as they are now."""
        status = self._look()
        workers = [one for pool in status.pools if pool.implementation != "beat" for one in pool.workers]
        if self._tally is not None:
            with self._turn:
                self._tally.update(workers[0].node.partition("@")[2] if workers else status.fleet)
                counted, readable = [*self._tally.collect()], not self._tally.trouble
            yield from counted
            says = "Whether the ledger could be read, by which tasks are counted."
            yield _gauge("celeryfleet_ledger_readable", says, (), {(): readable})
        yield from _workers(workers)
        yield from _queues(status)
        yield from _fleet(status)
        if len(found := self._hosts()) > 1:
            ages = {(host.name,): host.age_s for host in found}
            yield _gauge("celeryfleet_host_report_age_seconds", "Age of a host's latest report.", ("host",), ages)
            ready = {(host.name,): state_of(host) == "ready" for host in found}
            yield _gauge("celeryfleet_host_ready", "Whether all that a host is to run is ready.", ("host",), ready)


# --- Families ---------------------------------------------------------------------------------------------


def _workers(workers: Sequence[WorkerStatus]) -> Iterator[Metric]:
    named = {(one.node.partition("@")[2], one.name): one for one in workers}

    def each(value: Callable[[WorkerStatus], float]) -> dict[tuple[str, ...], float]:
        return {names: value(one) for names, one in named.items()}

    ready = each(lambda one: one.state == "ready")
    yield _gauge("celery_worker_up", "Whether a worker is ready.", _WORKER, ready)
    yield _gauge("celery_worker_tasks_active", "Tasks that a worker runs.", _WORKER, each(lambda one: one.active))
    says = "Times that a worker was started again after its process had ended unexpectedly."
    yield _counter("celeryfleet_worker_restarts", says, _WORKER, each(lambda one: one.restarts))


def _queues(status: Status) -> Iterator[Metric]:
    def each(name: str, says: str, value: Callable[[QueueStatus], float | None]) -> Metric:
        return _gauge(name, says, ("queue_name",), {(queue.name,): value(queue) for queue in status.queues})

    def processes(queue: QueueStatus) -> int:
        pools = [pool for pool in status.pools if queue.name in pool.queues and queue.name not in status.paused]
        each = [(pool.concurrency if pool.implementation == "prefork" else 1, pool.workers) for pool in pools]
        return sum(count * sum(one.state == "ready" for one in workers) for count, workers in each)

    yield each("celery_queue_length", "Messages that wait, of all priorities.", lambda queue: queue.ready)
    yield each("celery_active_consumer_count", "Workers that read a queue.", lambda queue: queue.consumers)
    yield each("celery_active_worker_count", "Workers that read a queue.", lambda queue: queue.consumers)
    yield each("celery_active_process_count", "Processes that run tasks of a queue.", processes)
    yield each("celeryfleet_queue_unacked", "Messages that workers have taken.", lambda queue: queue.unacked)
    says = "Age of the oldest message that waits; 0 where none does."
    name = "celeryfleet_queue_oldest_age_seconds"
    yield each(name, says, lambda queue: 0.0 if queue.ready == 0 else queue.oldest_age_s)
    yield each("celeryfleet_queue_paused", "Whether a queue is paused.", lambda queue: queue.name in status.paused)


def _fleet(status: Status) -> Iterator[Metric]:
    pools, name = status.pools, "celeryfleet_workers"
    yield _gauge(
        f"{name}_wanted", "Workers that a pool is to have.", _POOL, {(pool.name,): pool.want for pool in pools}
    )
    yield _gauge(
        f"{name}_ready", "Workers that do what they are for.", _POOL, {(pool.name,): pool.ready for pool in pools}
    )
    counts = {
        (pool.name, state): sum(one.state == state for one in pool.workers) for pool in pools for state in _STATES
    }
    yield _gauge(name, "Workers in each state.", (*_POOL, "state"), counts)
    yield _gauge("celeryfleet_ready", "Whether all that is wanted is ready.", (), {(): status.state == "ready"})
    yield _gauge("celeryfleet_broker_up", "Whether the broker answers.", (), {(): status.broker.state == "up"})


# --- Their kinds ------------------------------------------------------------------------------------------


def _gauge(name: str, says: str, labels: Sequence[str], values: _Values) -> Metric:
    return _filled(GaugeMetricFamily(name, says, labels=labels), values)


def _counter(name: str, says: str, labels: Sequence[str], values: _Values) -> Metric:
    return _filled(CounterMetricFamily(name, says, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: _Values) -> Metric:
    for names, value in values.items():
        if value is not None:  # else it is not known
            family.add_metric(names, float(value))
    return family
