#!/usr/bin/env python3
"""Imports what a real Prometheus wrote, and compares answers with it.

promtool writes blocks of three days; Prometheus scrapes itself and a target that goes away, cuts blocks off its head, deletes
some series, and is killed. Its directory is imported, Prometheus is started again on it, and both are asked the same
questions: values within 1e-9 relative, labels exactly. Then it is imported a second time, which must change nothing.

    import_prometheus.py CUMAE_BINARY [SECONDS]
"""

import http.server
import math
import pathlib
import shutil
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
FAST = ["--storage.tsdb.min-block-duration=20s", "--storage.tsdb.max-block-duration=1m", "--web.enable-admin-api"]
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
    "count_over_time(deleted_block[1d])", "count_over_time({__name__=~\"old_.*\"}[1d])", "stdvar_over_time(old_gauge[3h])",
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


def old_blocks(directory, end):
    """Three days of samples, as blocks that promtool writes."""
    lines = ["# TYPE old_gauge gauge", "# TYPE old_total counter", "# TYPE old_special gauge", "# TYPE deleted_block gauge"]
    times = range(end - 3 * DAY, end, 60)
    for n in range(5):
        lines += [f'old_gauge{{n="{n}",job="old"}} {math.sin(t / 1000 + n)!r} {t}.{n:03}' for t in times if t % 7]
    for n in range(3):
        lines += [f'old_total{{n="{n}",job="old"}} {(t * (n + 1)) % 100000} {t}' for t in times]
    values = ["NaN", "+Inf", "-Inf", "1e-320", "-0", "1.7976931348623157e308", "0.1"]
    lines += [f'old_special{{job="old"}} {values[t // 60 % 7]} {t}' for t in times]
    lines += [f'deleted_block{{job="old"}} {t % 1000} {t}' for t in times]
    # OpenMetrics wants a family's lines together.
    samples = sorted((line for line in lines if not line.startswith("#")), key=lambda line: line.split("{")[0])
    text, last = [], ""
    for line in samples:
        name = line.split("{")[0]
        if name != last:
            text.append(f"# TYPE {name.removesuffix('_total')} {'counter' if name.endswith('_total') else 'gauge'}")
        last = name
        text.append(line)
    path = directory / "old.om"
    path.write_text("\n".join([*text, "# EOF", ""]))
    subprocess.run([servers.NEIGHBOURS / "promtool", "tsdb", "create-blocks-from", "openmetrics", path, directory / "data"],
                   check=True, stdout=subprocess.DEVNULL)
    return path


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
        old_end = int(time.time()) // DAY * DAY - 4 * DAY + 7 * 3600
        text = old_blocks(theirs, old_end)
        target = leaving()
        config = CONFIG.replace("LEAVING", f"127.0.0.1:{target.server_address[1]}")
        server = prometheus(theirs, config, FAST)
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
        blocks = [path for path in (theirs / "data").iterdir() if len(path.name) == 26]
        young = [path for path in blocks if servers.json.loads((path / "meta.json").read_text())["maxTime"] > (moment - 3600) * 1000]
        print(f"import_prometheus: {len(blocks)} blocks, {len(young)} of them cut off the head, and the log of a killed Prometheus")
        assert young and len(blocks) > len(young)
        copy = directory / "copy"
        shutil.copytree(theirs / "data", copy)

        import_into(binary, ours, "prometheus", copy)
        cumae = servers.cumae(binary, ours)
        running.append(cumae)
        server = prometheus(theirs, "scrape_configs: []\n", [])
        running.append(server)
        failed = compare(cumae, server, old_end, moment, "imported")
        everything = {"query": "count_over_time({__name__=~\".+\"}[5m])", "time": f"{moment:.3f}"}
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
