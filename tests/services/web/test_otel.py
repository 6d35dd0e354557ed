"""Metrics by OpenTelemetry, held against a server that reads OTLP as its makers define it."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from celeryfleet.web import otel
from tests.fakes import eventually
from tests.unit.ledger.test_store import NOW, told
from tests.unit.web.test_metrics import Fleet

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@contextmanager
def collector() -> Iterator[tuple[str, queue.Queue[Any]]]:
    """Listen as a collector does; give its URL and what it got: (path, headers, message)."""
    got: queue.Queue[Any] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.put((self.path, self.headers, ExportMetricsServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()


def attributes(point: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in point.attributes}


def test_a_collector_gets_the_same_as_a_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(str(tmp_path / "ledger.sqlite"))
    for number, took in enumerate((5, 6, 20_000)):
        fleet.write(told(str(number), "succeeded", started=NOW + 100, ended=NOW, runtime=took))
    with collector() as (url, got):
        environ = {ENDPOINT: url, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=x", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        end = otel.start(fleet.metrics, "shop", environ)
        path, headers, message = got.get(timeout=60)
        end()
    fleet.store.close()
    assert (path, headers["api-key"]) == ("/v1/metrics", "x")
    [resource] = message.resource_metrics
    assert attributes(resource.resource)["service.name"] == "shop"
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    sent = {family.name for family in fleet.metrics.collect()}
    assert found.keys() == sent
    up = {attributes(one)["worker"]: one.as_double for one in found["celery_worker_up"].gauge.data_points}
    assert up == {"web-1": 1.0, "web-2": 0.0}
    [succeeded] = found["celery_task_succeeded"].sum.data_points
    assert (succeeded.as_double, attributes(succeeded)["name"]) == (3.0, "shop.add")
    assert found["celery_task_succeeded"].sum.is_monotonic
    assert found["celery_task_succeeded"].sum.aggregation_temporality == 2  # cumulative
    [runtime] = found["celery_task_runtime"].histogram.data_points
    assert (runtime.count, round(runtime.sum, 3)) == (3, 20.011)
    assert (runtime.bucket_counts[0], runtime.bucket_counts[1], runtime.bucket_counts[-1]) == (1, 1, 1)
    assert len(runtime.explicit_bounds) == len(runtime.bucket_counts) - 1
    assert not any(map(runtime.HasField, ("min", "max")))
    assert 0 < succeeded.start_time_unix_nano < succeeded.time_unix_nano


@pytest.mark.parametrize(
    ("environ", "lack"),
    [
        ({}, None),
        ({ENDPOINT: "http://h", "OTEL_SDK_DISABLED": "true"}, None),
        ({ENDPOINT: "http://h", "OTEL_METRICS_EXPORTER": "none"}, None),
        ({ENDPOINT: "http://h"}, ""),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://h"}, ""),
        (
            {ENDPOINT: "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "metrics are exported by http/protobuf alone, not by grpc.",
        ),
        (
            {ENDPOINT: "http://h", "OTEL_METRIC_EXPORT_INTERVAL": "1m"},
            "OTEL_METRIC_EXPORT_INTERVAL is no number of milliseconds.",
        ),
    ],
)
def test_nothing_is_exported_unless_it_is_wanted_and_can_be(environ: dict[str, str], lack: str | None) -> None:
    assert otel.lack(environ) == lack


def test_a_collector_that_is_dead_keeps_nobody_waiting_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv(ENDPOINT, url)
    fleet = Fleet(str(tmp_path / "ledger.sqlite"))
    end = otel.start(fleet.metrics, "shop", {ENDPOINT: url})
    began = time.monotonic()
    end()
    fleet.store.close()
    assert time.monotonic() - began < 5
    eventually(lambda: "otel" not in {thread.name for thread in threading.enumerate()})
    assert "exporting metrics batch" in caplog.text
