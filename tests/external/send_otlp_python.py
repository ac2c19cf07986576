"""Sends metrics as OTLP protobuf, by the exporter of OpenTelemetry for Python.

    send_otlp_python.py URL
"""

import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

exporter = OTLPMetricExporter(endpoint=sys.argv[1], compression=Compression.Gzip)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
provider = MeterProvider(
    [reader],
    Resource({"service.name": "shop", "service.namespace": "python", "service.instance.id": "a1", "host.name": "h1"}),
    views=[
        View(instrument_name="latency", aggregation=ExplicitBucketHistogramAggregation([0.1, 1])),
        View(instrument_name="native.latency", aggregation=ExponentialBucketHistogramAggregation()),
    ],
)
meter = provider.get_meter("demo", "1.0")
meter.create_counter("http.requests", "1").add(7, {"http.method": "GET"})
meter.create_up_down_counter("queue.length", "{item}").add(-3)
meter.create_observable_gauge("cpu.utilization", [lambda _: [Observation(0.25, {"core": 0})]], "1")
latency = meter.create_histogram("latency", "s")
for value in (0.05, 0.5, 5):
    latency.record(value)
native = meter.create_histogram("native.latency", "s")
for value in (0.5, 1.5, 3):
    native.record(value)
if not reader.force_flush():
    sys.exit("the exporter could not send")
provider.shutdown()
