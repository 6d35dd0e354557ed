"""Exports the fleet's metrics by OpenTelemetry: the same families as `/metrics`, sent by OTLP over HTTP.

Off unless the environment names a collector. The exporter of OpenTelemetry's SDK reads headers, certificates, timeout
and compression from it, too. What it sends is cumulative; there are no traces and no logs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.text import say

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric as Exported
    from opentelemetry.sdk.metrics.export import MetricsData
    from prometheus_client.metrics_core import Metric

    from celeryfleet.web.metrics import Metrics

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
#: seconds that the last export may take at the end
_GRACE = 1.0


def lack(environ: Mapping[str, str]) -> str | None:
    """Say why nothing is exported though a collector is configured; empty: nothing is in the way, None: none is."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environ.get("OTEL_METRICS_EXPORTER", "otlp") != "otlp" or not any(map(environ.get, _ENDPOINTS)):
        return None
    protocol = next(filter(None, map(environ.get, _PROTOCOLS)), "http/protobuf")
    if protocol != "http/protobuf":
        return f"metrics are exported by http/protobuf alone, not by {protocol}."
    if not environ.get(_INTERVAL, "60000").isdecimal():
        return f"{_INTERVAL} is no number of milliseconds."
    try:
        found = find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    return "" if found else 'OpenTelemetry is not installed: pip install "celeryfleet[otel]"'


def start(metrics: Metrics, fleet: str, environ: Mapping[str, str]) -> Callable[[], None]:
    """Export in a thread from now on, if that is wanted; return what ends it, after a last time."""
    trouble = lack(environ)
    if trouble is None or trouble:
        if trouble:
            say(f"note: metrics are not exported: {trouble}", sys.stderr)
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.resources import Resource

    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": fleet})
    exporter, over = OTLPMetricExporter(), threading.Event()

    def export() -> None:
        ended = False
        while not ended:
            ended = over.wait(int(environ.get(_INTERVAL, "60000")) / 1000)
            try:
                exporter.export(_data(metrics, resource))
            except FleetError as error:  # what is down has no metrics; the SDK says by itself what it can't send
                say(f"note: metrics are not exported: {error}", sys.stderr)

    def end() -> None:
        over.set()
        thread.join(_GRACE)
        exporter.shutdown()

    thread = threading.Thread(target=export, name="otel", daemon=True)
    thread.start()
    return end


def _data(metrics: Metrics, resource: Any) -> MetricsData:
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    times = (int(metrics.began * 1e9), time.time_ns())
    found = [_exported(family, *times) for family in metrics.collect()]
    scope = ScopeMetrics(InstrumentationScope("celeryfleet"), found, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _exported(family: Metric, start: int, now: int) -> Exported:
    from opentelemetry.sdk.metrics import export as otel

    data: otel.Sum | otel.Gauge | otel.Histogram
    if family.type == "histogram":
        data = otel.Histogram([*_histograms(family, start, now)], otel.AggregationTemporality.CUMULATIVE)
    else:
        points = [otel.NumberDataPoint(one.labels, start, now, one.value) for one in family.samples]
        counts = family.type == "counter"
        data = otel.Sum(points, otel.AggregationTemporality.CUMULATIVE, True) if counts else otel.Gauge(points)
    return otel.Metric(family.name, family.documentation, "s" if family.type == "histogram" else "", data)


def _histograms(family: Metric, start: int, now: int) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    buckets: list[tuple[float, float]] = []
    for one in family.samples:  # the buckets of one set of labels, each with those below it, then their count and sum
        if one.name.endswith("_bucket"):
            buckets.append((float(one.labels["le"]), one.value))
        elif one.name.endswith("_sum"):
            counts = [
                int(count - before) for (_, count), before in zip(buckets, [0, *(c for _, c in buckets)], strict=False)
            ]
            bounds = [bound for bound, _ in buckets[:-1]]
            ends: Any = (None, None)  # the least and the most are not known
            yield HistogramDataPoint(one.labels, start, now, int(buckets[-1][1]), one.value, counts, bounds, *ends)
            buckets = []
