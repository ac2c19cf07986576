#!/usr/bin/env python3
"""Imports what a real Prometheus wrote, and compares answers with it, histogram by histogram too, and exemplar by exemplar.

Prometheus is written three days of samples, of which it cuts blocks; it scrapes itself and a target that goes away, deletes
some series from blocks and head, and is killed. Its directory is imported, Prometheus is started again on it, and both are asked the same
questions: values within 1e-9 relative, labels exactly. Then it is imported a second time, which must change nothing.

    import_prometheus.py CUMAE_BINARY [SECONDS]
"""

import http.server
import json
import math
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

import remote_write
import servers
from compare_prometheus import difference, size
from remote_write import Native, field, stale_message, varint

CONFIG = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: prometheus
    scrape_protocols: [PrometheusText0.0.4]
    static_configs: [{targets: ['SELF']}]
  - job_name: native
    scrape_interval: 1s
    static_configs: [{targets: ['SELF']}]
    metric_relabel_configs: [{source_labels: [__name__], regex: prometheus_http_request_duration_seconds, action: keep}]
  - job_name: leaving
    static_configs: [{targets: ['LEAVING']}]
"""
FLAGS = ["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--enable-feature=native-histograms,exemplar-storage"]
DAY = 86400

INSTANT = [
    "up", '{job="prometheus"}', '{__name__=~"go_.*"}', "count by (__name__) ({__name__=~\".+\",job!=\"native\"})", "leaving_gauge",
    "prometheus_http_requests_total", "rate(prometheus_http_requests_total[20s])", "increase(leaving_total[40s])",
    "rate(process_cpu_seconds_total[10s])", "avg_over_time(go_goroutines[30s])", "go_goroutines[3s]",
    "sum by (job) (count_over_time(up[1m]))", "changes(process_open_fds[1m])", "resets(leaving_total[1m])",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[30s])))",
    "prometheus_tsdb_head_series", "stddev_over_time(go_goroutines[1m])", "absent(leaving_gauge)", "timestamp(up)",
    "last_over_time(leaving_gauge[2m])", "deleted_head", "count_over_time(go_info[2m])", "topk(3, go_goroutines)",
    "process_resident_memory_bytes", "count_over_time(go_threads[2m])", "min_over_time(leaving_gauge[2m])",
]
OLD = [
    "old_gauge", "old_total", 'old_gauge{n="3"}', "sum(old_gauge)", "rate(old_total[1h])", "old_special",
    "count_over_time(old_gauge[1d])", "sum_over_time(old_total[6h])", "old_gauge[10m]", "deleted_block",
    "count_over_time(deleted_block[1d])", "count by (__name__) ({__name__=~\"old_.*\"})", "stdvar_over_time(old_gauge[3h])",
]
RANGE = ["old_gauge", "rate(old_total[10m])", "deleted_block", "sum by (n) (old_gauge)", "count({__name__=~\"old_.+\"})"]


def leaving():
    """A target for a while."""
    class Handler(http.server.BaseHTTPRequestHandler):
        count = 0

        def do_GET(self):
            Handler.count += 1
            n = Handler.count
            body = (f"# HELP leaving_gauge A gauge.\n# TYPE leaving_gauge gauge\nleaving_gauge {math.sin(n)}\n"
                    f"# TYPE leaving_total counter\nleaving_total {n % 70}\nleaving_nan NaN\nleaving_inf -Inf\n"
                    f"deleted_head {n}\n")
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def old_samples(end):
    """Three days of samples: name, labels, and for each moment in ms a value."""
    times = range(end - 3 * DAY, end, 60)
    for n in range(5):
        yield "old_gauge", {"n": str(n), "job": "old"}, [(t * 1000 + n, math.sin(t / 1000 + n)) for t in times if t % 7]
    for n in range(3):
        yield "old_total", {"n": str(n), "job": "old"}, [(t * 1000, float(t * (n + 1) % 100000)) for t in times]
    values = [math.nan, math.inf, -math.inf, 1e-320, -0.0, 1.7976931348623157e308, 0.1]
    yield "old_special", {"job": "old"}, [(t * 1000, values[t // 60 % 7]) for t in times]
    yield "deleted_block", {"job": "old"}, [(t * 1000, float(t % 1000)) for t in times]


def native_series(end):
    """Native histograms of every sort over three days: labels, and for each moment in ms the message."""
    out = []
    for kind in ("integer", "float", "gauge"):
        for custom in (False, True):
            labels = {"__name__": "native", "job": "native", "sort": f"{kind} {'custom' if custom else 'exponential'}"}
            native = Native(kind, kind, custom)
            samples = []
            for t in range(end - 3 * DAY, end - 600, 120):
                native.observe()
                is_stale = native.random.random() < 0.01
                samples.append((t * 1000, stale_message(t * 1000, kind) if is_stale else native.message(t * 1000)))
            out.append((labels, samples))
    return out


def push(server, old, native):
    """Writes the samples by remote write, an hour at a time, in order; and exemplars of the counters, one a minute."""
    begin, end = min(s[2][0][0] for s in old), max(s[2][-1][0] for s in old)
    for hour in range(begin, end + 1, 3600_000):
        message = b""
        for name, labels, samples in old:
            pairs = sorted({"__name__": name, **labels}.items())
            series = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs)
            for t, value in samples:
                if hour <= t < hour + 3600_000:
                    series += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(t))
                    if name == "old_total":
                        trace = field(1, field(1, b"trace_id") + field(2, f"t{t}".encode()))
                        series += field(3, trace + b"\x11" + struct.pack("<d", value / 7) + b"\x18" + varint(t))
            message += field(1, series)
        for labels, samples in native:
            series = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
            series += b"".join(field(4, histogram) for t, histogram in samples if hour <= t < hour + 3600_000)
            message += field(1, series)
        remote_write.push(server, "/api/v1/write", message)
        # Blocks are cut while more comes, so that the log is cut too and has a checkpoint.
        time.sleep(0.2)


def text_of(old, path):
    """The same samples as OpenMetrics."""
    lines, last = [], ""
    for name, labels, samples in old:
        if name != last:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines.append(f"# TYPE {name.removesuffix('_total')} {kind}")
        last = name
        inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
        spell = lambda v: "NaN" if math.isnan(v) else repr(v).replace("inf", "Inf")
        lines += [f"{name}{{{inside}}} {spell(value)} {t // 1000}.{t % 1000:03}" for t, value in samples]
    path.write_text("\n".join([*lines, "# EOF", ""]))


def blocks(directory):
    return [path for path in (directory / "data").iterdir() if len(path.name) == 26]


def cut_until(directory):
    """Up to which moment in ms blocks hold what was in the head."""
    ends = [0]
    for block in blocks(directory):
        try:
            ends.append(json.loads((block / "meta.json").read_text())["maxTime"])
        except FileNotFoundError:
            pass  # It was merged into another meanwhile.
    return max(ends)


def prometheus(directory, config, flags):
    port = servers.free_port()
    (directory / "prometheus.yml").write_text(config.replace("SELF", f"127.0.0.1:{port}"))
    command = [servers.NEIGHBOURS / "prometheus", f"--config.file={directory / 'prometheus.yml'}",
               f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
               "--storage.tsdb.retention.time=100y", *flags]
    return servers.Server("prometheus", command, port, directory / "prometheus.log", "/-/ready")


def delete(server, matcher, start, end):
    query = servers.urllib.parse.urlencode({"match[]": matcher, "start": start, "end": end})
    status, body = server.request("POST", f"/api/v1/admin/tsdb/delete_series?{query}")
    assert status == 204, (status, body)


def compare(cumae, other, old_end, moment, what):
    asked = []
    for query in INSTANT:
        for at in (moment, moment - 35):
            asked.append((query, "query", {"query": query, "time": f"{at:.3f}"}))
    for query in OLD:
        asked.append((query, "query", {"query": query, "time": f"{old_end - 5000}"}))
    for query in RANGE:
        asked.append((query, "query_range", {"query": query, "start": old_end - 3 * DAY, "end": old_end, "step": 613}))
    span = {"start": f"{old_end - 3 * DAY}", "end": f"{moment:.3f}"}
    asked += [("labels", "labels", span), ("names", "label/__name__/values", span), ("series", "series", {
        "match[]": ["up", '{job="old"}', '{job="leaving"}'], **span})]
    failed = empty = 0
    for name, path, parameters in asked:
        ours, theirs = cumae.api(path, parameters), other.api(path, parameters)
        found = difference(ours, theirs)
        failed += bool(found)
        empty += size(theirs) == 0
        if "-v" in sys.argv and size(theirs) == 0:
            print(f"EMPTY {name} {parameters}")
        if found:
            print(f"DIFFERS {name} {parameters}\n        {found}")
    print(f"import_prometheus: {what}: {len(asked) - failed} of {len(asked)} answers agree, {empty} of them empty")
    assert empty < len(asked) / 4
    return failed


def dumped(binary, directory):
    """Every native histogram in the sstables: (labels, ms) -> what Prometheus would answer, in floats."""
    found, count = {}, 0
    for path in sorted((directory / "data" / "store" / "sstables").iterdir()):
        lines = subprocess.run([binary, "store", "dump", path], capture_output=True, text=True, check=True).stdout.splitlines()
        for line in lines:
            match = re.search(r"^(.*) (-?\d+) Histogram (\{.*\})", line)
            if match:
                labels = frozenset(re.findall(r'(\w+)="([^"]*)"', match[1]))
                found.setdefault((labels, int(match[2])), []).append(answer_of(match[3]))
                count += 1
    return found, count


def answer_of(text):
    """Count, sum and buckets (lower bound, upper bound, count) of a histogram as it is dumped; None for a stale marker."""
    numbers = lambda name: [float(x) for x in re.search(rf"\b{name}: \[([^\]]*)\]", text)[1].split(",") if x.strip()]
    number = lambda name: float(re.search(rf"\b{name}: ([^,}} ]+)", text)[1])
    schema, threshold = int(number("schema")), number("zero_threshold")
    places = lambda name: [(int(a), int(b)) for a, b in re.findall(r"offset: (-?\d+), length: (\d+)", re.search(rf"{name}_spans: \[(.*?)\]", text)[1])]
    custom = numbers("custom_values")

    def buckets(name):
        out, at, counts = [], 0, iter(numbers(name))
        for offset, length in places(name):
            at += offset
            for index in range(at, at + length):
                out.append((index, next(counts)))
            at += length
        return out

    if schema == -53:
        bounds = lambda index: (custom[index - 1] if index else -math.inf, custom[index] if index < len(custom) else math.inf)
    else:
        bounds = lambda index: (2.0 ** ((index - 1) * 2.0**-schema), 2.0 ** (index * 2.0**-schema))
    # A bucket that reaches into the zero bucket is shown from its border on.
    clip = lambda low, high: (threshold, high) if 0 < low < threshold else (low, high)
    rows = [(-clip(*bounds(i))[1], -clip(*bounds(i))[0], n) for i, n in reversed(buckets("negative"))]
    rows += [(-threshold, threshold, number("zero_count"))]
    rows += [(*clip(*bounds(i)), n) for i, n in buckets("positive")]
    return number("count"), number("sum"), [row for row in rows if row[2]]


def close(a, b):
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b or math.isclose(a, b, rel_tol=1e-9)


def compare_native(binary, directory, server, moment, pushed):
    """Every native histogram that Prometheus has is in the sstables, and no other."""
    asked = server.api("query", {"query": "{job=\"native\"}[4d]", "time": f"{moment:.3f}"})
    theirs = {}
    for row in asked["data"]["result"]:
        for at, histogram in row.get("histograms", []):
            buckets = [(float(low), float(high), float(n)) for _, low, high, n in histogram.get("buckets", [])]
            theirs[frozenset(row["metric"].items()), round(at * 1000)] = (float(histogram["count"]), float(histogram["sum"]), buckets)
    ours, count = dumped(binary, directory)
    # Prometheus shows no stale markers.
    ours = {key: rows for key, rows in ours.items() if key[1] <= moment * 1000}
    shown = {key: rows for key, rows in ours.items() if not any(math.isnan(row[1]) for row in rows)}
    wrong = [key for key in set(shown) | set(theirs) if key not in theirs or not all(close(row, theirs[key]) for row in shown.get(key, [None]) if row) or key not in shown]
    for key in wrong[:5]:
        print(f"DIFFERS {sorted(key[0])} {key[1]}: ours {shown.get(key)}, theirs {theirs.get(key)}")
    stale, sent = len(ours) - len(shown), sum(len(samples) for _, samples in pushed)
    scraped = sum(("__name__", "native") not in key[0] for key in shown)
    print(f"import_prometheus: {len(theirs)} native histograms in {len(asked['data']['result'])} series, "
          f"{len(theirs) - len(wrong)} agree; {stale} stale markers; {len(ours)} on disk in {count} rows; {sent} were sent, {scraped} scraped")
    if len(ours) < sent + scraped or len(theirs) < sent * 0.9 or stale < 20 or scraped < 20:
        wrong.append("the number of histograms")
    return bool(wrong), len(ours)


def compare_exemplars(cumae, server, old, old_end):
    """Prometheus leaves out of its log what is older than its head. All that it has are here, and none that was not sent."""
    parameters = {"query": "old_total", "start": f"{old_end - 4 * DAY}", "end": f"{old_end}"}
    rows = lambda other: {(row["seriesLabels"]["n"], round(float(one["timestamp"]) * 1000), one["labels"]["trace_id"], float(one["value"]))
                          for row in other.api("query_exemplars", parameters)["data"] for one in row["exemplars"]}
    ours, theirs = rows(cumae), rows(server)
    sent = {(labels["n"], t, f"t{t}", value / 7) for name, labels, samples in old if name == "old_total" for t, value in samples}
    print(f"import_prometheus: {len(ours)} exemplars, all {len(ours & theirs)} of {len(theirs)} of Prometheus among them")
    return bool(not theirs or theirs - ours or ours - sent), ours


def import_into(binary, directory, kind, source):
    done = subprocess.run([binary, "import", kind, source, "--data-dir", directory / "data"], capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode != 0:
        raise SystemExit(f"FAILED: the import: {done.stderr}")


def main():
    binary, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 75.0
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cumae-import-"))
    theirs, ours = directory / "prometheus", directory / "cumae"
    theirs.mkdir()
    running = []
    try:
        old_end = int(time.time()) // 60 * 60 - 60
        old = list(old_samples(old_end))
        text = directory / "old.om"
        text_of(old, text)
        target = leaving()
        config = CONFIG.replace("LEAVING", f"127.0.0.1:{target.server_address[1]}")
        first = prometheus(theirs, "scrape_configs: []\n", FLAGS)
        running.append(first)
        native = native_series(old_end)
        push(first, old, native)
        # How many there are once they were merged depends on the hour of the day.
        all_cut = lambda: cut_until(theirs) > 1000 * (old_end - 5 * 3600)
        servers.wait_until("blocks to be cut off the head", all_cut, seconds=120)
        first.end()
        server = prometheus(theirs, config, FLAGS)
        running.append(server)
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            server.api("query", {"query": "sum(up)"})
            time.sleep(1.0)
            if time.monotonic() > begin + seconds - 25 and target:
                target.shutdown()
                target.server_close()
                target = None
        delete(server, "deleted_block", old_end - 2 * DAY, old_end - DAY)
        delete(server, "deleted_head", time.time() - 60, time.time() - 30)
        moment = time.time() - 3
        server.kill()
        cut = len(blocks(theirs))
        checkpoints = len(list((theirs / "data" / "wal").glob("checkpoint.*")))
        print(f"import_prometheus: {cut} blocks, {checkpoints} checkpoints, and the log of a killed Prometheus")
        assert cut > 1 and checkpoints > 0
        copy = directory / "copy"
        shutil.copytree(theirs / "data", copy)

        import_into(binary, ours, "prometheus", copy)
        cumae = servers.cumae(binary, ours)
        running.append(cumae)
        server = prometheus(theirs, "scrape_configs: []\n", FLAGS[2:])
        running.append(server)
        failed = compare(cumae, server, old_end, moment, "imported")
        differs, on_disk = compare_native(binary, ours, server, moment, native)
        failed += differs
        differs, exemplars = compare_exemplars(cumae, server, old, old_end)
        failed += differs
        everything = {"query": "{__name__=~\".+\",job!=\"native\"}[5m]", "time": f"{moment:.3f}"}
        before = cumae.api("query", everything)
        refused = subprocess.run([binary, "import", "prometheus", copy, "--data-dir", ours / "data"], capture_output=True, text=True)
        if refused.returncode == 0 or "in use" not in refused.stderr:
            print(f"DIFFERS an import beside a running server: {refused}")
            failed += 1
        cumae.end()

        import_into(binary, ours, "prometheus", copy)
        import_into(binary, ours, "openmetrics", text)
        cumae = servers.cumae(binary, ours)
        running.append(cumae)
        assert before["data"]["result"]
        if compare_exemplars(cumae, server, old, old_end)[1] != exemplars:
            print("DIFFERS the exemplars after a second import")
            failed += 1
        differs, again = compare_native(binary, ours, server, moment, native)
        failed += differs
        if again != on_disk:
            print(f"DIFFERS {again} histograms after a second import, {on_disk} before")
            failed += 1
        if difference(cumae.api("query", everything), before):
            print("DIFFERS the number of samples after a second import")
            failed += 1
        # The text still has what was deleted from the block; the rest is the same.
        deleted = {"query": "count_over_time(deleted_block[3d])", "time": old_end}
        counts = [cumae.api("query", deleted)["data"]["result"][0]["value"][1], 3 * DAY // 60]
        if int(counts[0]) not in (counts[1], counts[1] - 1):
            print(f"DIFFERS the text's samples: {counts}")
            failed += 1
        OLD[:] = [query for query in OLD if "deleted" not in query]
        RANGE[:] = [query for query in RANGE if "deleted" not in query]
        failed += compare(cumae, server, old_end, moment, "imported twice")
        if failed:
            raise SystemExit(f"FAILED: {failed}; everything is in {directory}")
        shutil.rmtree(directory)
    finally:
        for server in running:
            server.end()


if __name__ == "__main__":
    main()
