#!/usr/bin/env python3
"""Imports what a real Prometheus wrote, and compares answers with it.

Prometheus is written three days of samples, of which it cuts blocks; it scrapes itself and a target that goes away, deletes
some series from blocks and head, and is killed. Its directory is imported, Prometheus is started again on it, and both are asked the same
questions: values within 1e-9 relative, labels exactly. Then it is imported a second time, which must change nothing.

    import_prometheus.py CUMAE_BINARY [SECONDS]
"""

import http.server
import math
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

import servers
from compare_prometheus import difference, size

CONFIG = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: prometheus
    static_configs: [{targets: ['SELF']}]
  - job_name: leaving
    static_configs: [{targets: ['LEAVING']}]
"""
FLAGS = ["--web.enable-remote-write-receiver", "--web.enable-admin-api"]
DAY = 86400

INSTANT = [
    "up", '{job="prometheus"}', '{__name__=~"go_.*"}', "count by (__name__) ({__name__=~\".+\"})", "leaving_gauge",
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


def varint(number):
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(message):
    """The message as it is, in snappy's literals."""
    out = varint(len(message))
    for at in range(0, len(message), 65536):
        part = message[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return out


def push(server, old):
    """Writes the samples by remote write, an hour at a time, in order."""
    begin, end = min(s[2][0][0] for s in old), max(s[2][-1][0] for s in old)
    for hour in range(begin, end + 1, 3600_000):
        message = b""
        for name, labels, samples in old:
            pairs = sorted({"__name__": name, **labels}.items())
            series = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs)
            for t, value in samples:
                if hour <= t < hour + 3600_000:
                    series += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(t))
            message += field(1, series)
        status, body = server.request("POST", "/api/v1/write", snappy(message), {
            "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0"})
        assert status in (200, 204), (status, body)
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
        if found:
            print(f"DIFFERS {name} {parameters}\n        {found}")
    print(f"import_prometheus: {what}: {len(asked) - failed} of {len(asked)} answers agree, {empty} of them empty")
    assert empty < len(asked) / 4
    return failed


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
        push(first, old)
        servers.wait_until("blocks to be cut off the head", lambda: len(blocks(theirs)) > 4, seconds=120)
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
        assert cut > 4 and checkpoints > 0
        copy = directory / "copy"
        shutil.copytree(theirs / "data", copy)

        import_into(binary, ours, "prometheus", copy)
        cumae = servers.cumae(binary, ours)
        running.append(cumae)
        server = prometheus(theirs, "scrape_configs: []\n", [])
        running.append(server)
        failed = compare(cumae, server, old_end, moment, "imported")
        everything = {"query": "{__name__=~\".+\"}[5m]", "time": f"{moment:.3f}"}
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
