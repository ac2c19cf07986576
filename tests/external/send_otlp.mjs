// Sends metrics as OTLP JSON, by the exporter of OpenTelemetry for JavaScript.
//
//     node send_otlp.mjs URL

import { metrics } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';

const exporter = new OTLPMetricExporter({ url: process.argv[2] });
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3600000 });
const provider = new MeterProvider({
  resource: resourceFromAttributes({
    'service.name': 'shop', 'service.namespace': 'js', 'service.instance.id': 'a1', 'host.name': 'h1',
  }),
  readers: [reader],
  views: [{
    instrumentName: 'native.latency',
    aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { maxSize: 160, recordMinMax: true } },
  }],
});
const meter = provider.getMeter('demo', '1.0');
meter.createCounter('http.requests', { unit: '1' }).add(7, { 'http.method': 'GET' });
meter.createUpDownCounter('queue.length', { unit: '{item}' }).add(-3);
meter.createObservableGauge('cpu.utilization', { unit: '1' }).addCallback((result) => result.observe(0.25, { core: 0 }));
const latency = meter.createHistogram('latency', { unit: 's', advice: { explicitBucketBoundaries: [0.1, 1] } });
[0.05, 0.5, 5].forEach((value) => latency.record(value));
const native = meter.createHistogram('native.latency', { unit: 's' });
[0.5, 1.5, 3].forEach((value) => native.record(value));
await reader.forceFlush();
await provider.shutdown();
