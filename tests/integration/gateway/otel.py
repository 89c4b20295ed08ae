"""Counts, and exports the counts by remote write each time.

    otel.py URL COUNTS
"""

import sys
import time

from opentelemetry.exporter.prometheus_remote_write import PrometheusRemoteWriteMetricsExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult

PACE_SECONDS = 0.02

url, counts = sys.argv[1], int(sys.argv[2])
exporter = PrometheusRemoteWriteMetricsExporter(endpoint=url, timeout=10)
reader = InMemoryMetricReader()
meter = MeterProvider(metric_readers=[reader]).get_meter("starling")
counter = meter.create_counter("otel_counts")
size = meter.create_histogram("otel_size")
for number in range(counts):
    counter.add(1, {"kind": "kind's"})
    size.record(number)
    if exporter.export(reader.get_metrics_data()) is not MetricExportResult.SUCCESS:
        print(f"export {number} failed", flush=True)
    # Two exports of one millisecond would differ at one time.
    time.sleep(PACE_SECONDS)
