"""What is written to both servers by remote write before they are asked: two hours of everything a query may meet.

Samples lie at 137, 411 or 683 ms past a second and queries are asked at 950 ms, so that no sample ever lies on the edge of
a window, where it would be a matter of one release or another whether it counts.
"""

import math
import random

import remote_write
from remote_write import STALE, Native, series, stale_message

INTERVAL_MS = 15_000
HOURS = 2
# Where a sample of a target lies within its interval.
OFFSETS_MS = [137, 4_411, 9_683]
BOUNDS = ["0.005", "0.05", "0.1", "0.5", "1", "+Inf"]


def targets():
    """Job, instance, and where its samples lie."""
    for job in ("api", "web"):
        for number in range(3):
            yield {"job": job, "instance": f"host{number}:9100"}, OFFSETS_MS[number]


def times(end_ms, offset_ms):
    begin = end_ms - HOURS * 3_600_000
    return [begin + k * INTERVAL_MS + offset_ms for k in range(HOURS * 240 - 1)]


def counter(rng, moments, resets=0.004):
    value, out = rng.randrange(1000), []
    for at in moments:
        value = 0 if rng.random() < resets else value + rng.choice([0, 1, 2, 7, 40.5])
        out.append((at, float(value)))
    return out


def gauge(rng, moments, scale):
    value, out = rng.uniform(-1, 1) * scale, []
    for at in moments:
        value += rng.uniform(-0.1, 0.1) * scale
        out.append((at, value))
    return out


def floats(end_ms):
    """Labels and samples of the series of floats."""
    rng = random.Random(7)
    for target, offset in targets():
        at = times(end_ms, offset)
        name = lambda metric, **more: {"__name__": metric, **target, **more}
        yield name("up"), [(t, float(rng.random() < 0.97)) for t in at]
        for method in ("GET", "POST"):
            for code in ("200", "404", "500"):
                yield name("requests_total", method=method, code=code), counter(rng, at)
        yield name("memory_bytes"), gauge(rng, at, 1e9)
        yield name("temperature", room=f"room {target['instance'][4]}"), gauge(rng, at, 20)
        yield name("limit_bytes"), [(t, 4e9) for t in at]
        for shard in range(4):
            yield name("queue", shard=f"s{shard * 5 + 1}"), gauge(rng, at, 100 + shard)
        # A classic histogram.
        counts = [0] * len(BOUNDS)
        buckets, total, lines = [[] for _ in BOUNDS], 0.0, []
        for t in at:
            for _ in range(rng.randrange(9)):
                value = rng.choice([0.003, 0.03, 0.2, 0.7, 1.5])
                total += value
                counts = [count + (value <= float(bound)) for count, bound in zip(counts, BOUNDS)]
            for bucket, count in zip(buckets, counts):
                bucket.append((t, float(count)))
            lines.append((t, total))
        for bound, bucket in zip(BOUNDS, buckets):
            yield name("latency_seconds_bucket", le=bound), bucket
        yield name("latency_seconds_count"), buckets[-1]
        yield name("latency_seconds_sum"), lines
        yield name("build_info", version=f"1.{target['instance'][4]}", commit="abc"), [(t, 1.0) for t in at]
        yield name("target_info", region="eu" if target["job"] == "api" else "us", tier="gold"), [(t, 1.0) for t in at]
        yield name("boot_seconds"), [(t, at[0] / 1000 - 86_400 * 40 - 7) for t in at]
    at = times(end_ms, OFFSETS_MS[0])
    odd = [math.nan, 1.0, math.inf, -2.5, -math.inf, 0.0, -0.0, 1e-300, 1e300]
    yield {"__name__": "odd", "sort": "mixed"}, [(t, odd[k // 3 % len(odd)]) for k, t in enumerate(at)]
    yield {"__name__": "odd", "sort": "nan"}, [(t, math.nan) for t in at]
    yield {"__name__": "gone", "job": "api"}, [*gauge(rng, at[:-50], 1), (at[-50], STALE)]
    yield {"__name__": "flapping", "job": "api"}, [(t, STALE if k % 9 == 8 else float(k)) for k, t in enumerate(at)]
    yield {"__name__": "sparse", "job": "api"}, [(t, float(k)) for k, t in enumerate(at) if k % 17 == 0]
    yield {"__name__": "constant", "job": "api"}, [(t, 3.5) for t in at]
    yield {"__name__": "härte.grad", "straße": "süd 1"}, gauge(rng, at, 5)


class Plain(Native):
    """One whose layout is a matter of course: one schema, no bucket within the zero bucket, observations on both sides of
    it from the start, also after a reset. How else it is laid out depends on how a storage keeps its neighbours."""

    def reset(self):
        self.schema = -53 if self.custom else 2
        self.threshold = 0.0 if self.custom else 1e-3
        self.bounds = [0.005, 0.1, 0.25, 1.0, 7.5] if self.custom else []
        self.positive = {index: 50 for index in range(len(self.bounds) + 1)} if self.custom else {0: 50, 2: 50}
        self.negative = {} if self.custom else {0: 50, 1: 50}
        self.zero, self.sum, self.reach = 0 if self.custom else 20, 100.0, 8


def natives(end_ms):
    """Labels and messages of the series of native histograms."""
    for number, kind in enumerate(("integer", "float", "gauge")):
        for custom in (False, True):
            name = f"{'custom' if custom else 'native'}_{'gauge' if kind == 'gauge' else 'seconds'}"
            for instance in range(2):
                native = Plain(f"{kind} {custom} {instance}", kind, custom)
                labels = {"__name__": name, "kind": kind, "instance": f"host{instance}:9100", "job": "api"}
                messages = []
                for t in times(end_ms, OFFSETS_MS[number]):
                    native.observe()
                    stale = native.random.random() < 0.005
                    messages.append((t, stale_message(t, kind) if stale else native.message(t)))
                yield labels, messages


def write(cumae, prometheus, end_ms):
    """Sends the same requests to both, ten minutes each, and returns how many samples there were."""
    sent = 0
    floating, native = list(floats(end_ms)), list(natives(end_ms))
    for begin in range(end_ms - HOURS * 3_600_000, end_ms, 600_000):
        is_in = lambda t: begin <= t < begin + 600_000
        message = b""
        for labels, samples in floating:
            part = [(t, value) for t, value in samples if is_in(t)]
            sent += len(part)
            message += series(labels, samples=part) if part else b""
        for labels, messages in native:
            part = [text for t, text in messages if is_in(t)]
            sent += len(part)
            message += series(labels, histograms=part) if part else b""
        remote_write.push(prometheus, "/api/v1/write", message)
        remote_write.push(cumae, "/api/v1/push", message)
    return sent
