#!/usr/bin/env python3
"""What a day of data weighs and how soon it answers: cumae beside VictoriaMetrics and Prometheus, same data, same run.

Workload C (docs/BENCHMARKS.md) is a day of 12,000 series, 20 samples of a series in a request; workload A an hour of
100,000 series; workload B five minutes of a million. Each server is filled, brought to its densest form (cumae:
flush?seal=true; VictoriaMetrics: its forced merge; Prometheus: as its compaction leaves it), measured on disk and asked; in
workloads A and B killed with SIGKILL before that.

    bench_store.py CUMAE_BINARY [--workload A|B|C] [--scale N] [--without prometheus,...]

`--scale 10` takes a tenth of the series.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import compare_prometheus
import servers
from bench_writes import LIFTED, tree_bytes, verdict

WORKLOADS = {
    "A": {"series": 100_000, "rounds": 240, "connections": 4, "together": 1},
    "B": {"series": 1_000_000, "rounds": 20, "connections": 4, "together": 1},
    "C": {"series": 12_000, "rounds": 5_760, "connections": 1, "together": 20},
}

# The most that the design allows: bytes a sample on disk, bytes of memory a series, restart as against VictoriaMetrics'.
LIMITS = {
    "A": {"disk": 0.95, "memory": 800, "restart": 0.55},
    "B": {"memory": 450, "restart": 0.17},
    "C": {"disk": 0.75},
}

# Name, expression, span and step of the range in seconds; a step of 0 is an instant query.
QUERIES = {
    "A": [
        ("count of all", 'count({cluster="bench"})', 0, 0),
        ("one series", 'node_hwmon_temp_celsius{instance="ip-10-0-1-17.internal:9100",sensor="temp450"}', 0, 0),
        ("instant rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 0, 0),
        ("1 h, one target, 256 series", 'rate(node_cpu_seconds_total{instance="ip-10-0-1-17.internal:9100"}[5m])', 3600, 15),
        ("1 h, rate by job, 25,600 series", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 3600, 15),
        ("1 h, histogram_quantile by job",
         "histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))", 3600, 15),
    ],
    "B": [
        ("count of all", 'count({cluster="bench"})', 0, 0),
        ("one series", 'node_hwmon_temp_celsius{instance="ip-10-0-1-17.internal:9100",sensor="temp450"}', 0, 0),
        ("one target, 256 series", 'rate(node_cpu_seconds_total{instance="ip-10-0-1-17.internal:9100"}[5m])', 0, 0),
    ],
    "C": [
        ("count of all", 'count({cluster="bench"})', 0, 0),
        ("one series, a day", 'node_hwmon_temp_celsius{instance="ip-10-0-1-17.internal:9100",sensor="temp450"}', 86400, 300),
        ("1 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 3600, 15),
        ("6 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 21600, 60),
        ("24 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 86400, 300),
        ("24 h, increase over 1 h", "sum by (job) (increase(http_requests_total[1h]))", 86400, 300),
        ("24 h, one target", 'rate(node_cpu_seconds_total{instance="ip-10-0-1-17.internal:9100"}[5m])', 86400, 300),
    ],
}

METADATA = [
    ("label names", "labels", {}),
    ("values of a label", "label/instance/values", {}),
    ("series of one target", "series", {"match[]": '{instance="ip-10-0-1-17.internal:9100"}'}),
]


def fill(binary, server, plan, end_ms):
    command = [binary, "bench", "write", "--json", "--target", f"127.0.0.1:{server.port}", "--pid", server.pid,
               "--series", plan["series"], "--rounds", plan["rounds"], "--connections", plan["connections"],
               "--samples-per-series", plan["together"], "--end-ms", end_ms]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {server.name}: {done.stderr}")
    report = json.loads(done.stdout)
    if not report["complete"] or report["errors"]:
        raise SystemExit(f"FAILED: {server.name} does not hold what was sent: {done.stdout}")
    return report


def densest(name, server, directory):
    """Brings the server to its densest form; its data's bytes, and the seconds that took."""
    began = time.monotonic()
    if name == "cumae":
        status, body = server.request("POST", "/ingester/flush?seal=true", timeout=600)
        if status != 204:
            raise SystemExit(f"FAILED: flush?seal=true: {status} {body}")
        return tree_bytes(f"{directory}/cumae/data/store/sstables"), time.monotonic() - began
    if name == "victoria-metrics":
        server.request("GET", "/internal/force_flush")
        server.request("GET", "/internal/force_merge", timeout=600)
        data = lambda: tree_bytes(f"{directory}/vm/data")
        steady(data)
        return data(), time.monotonic() - began
    data = pathlib.Path(f"{directory}/prometheus/data")
    is_block = lambda path: "wal" not in path.parts and "chunks_head" not in path.parts
    steady(lambda: tree_bytes(data, is_block))
    return tree_bytes(data, is_block), time.monotonic() - began


def steady(size, seconds=60):
    """Waits until a size has been the same for five seconds."""
    deadline, last, since = time.monotonic() + seconds, size(), time.monotonic()
    while time.monotonic() < min(deadline, since + 5):
        time.sleep(0.5)
        if (now := size()) != last:
            last, since = now, time.monotonic()


def ask(server, workload, end_s):
    """For each question its answer and the median time of five, in ms."""
    asked = {}
    for name, query, span, step in QUERIES[workload]:
        parameters = {"query": query, "nocache": 1}
        if step:
            end = end_s - end_s % step
            parameters |= {"start": end - span, "end": end, "step": step}
        else:
            parameters["time"] = end_s
        asked[name] = timed(server, "query_range" if step else "query", parameters)
    for name, path, parameters in METADATA:
        asked[name] = timed(server, path, parameters | {"start": end_s - 3600, "end": end_s})
    return asked


def timed(server, path, parameters):
    answer, times = server.api(path, parameters), []
    if answer.get("status") != "success":
        raise SystemExit(f"FAILED: {server.name}: {path} {parameters}: {str(answer)[:400]}")
    for _ in range(5):
        began = time.monotonic()
        server.api(path, parameters)
        times.append(1000 * (time.monotonic() - began))
    return answer, sorted(times)[2]


def start(name, binary, directory):
    return {
        "cumae": lambda: servers.cumae(binary, f"{directory}/cumae", LIFTED),
        "victoria-metrics": lambda: servers.victoria_metrics(f"{directory}/vm"),
        "prometheus": lambda: servers.prometheus(f"{directory}/prometheus", "global: {scrape_interval: 1h}\n"),
    }[name]()


def in_turn(without, measure_one):
    """What `measure_one` says of each server but those in `without`, a list with commas; its data is gone before the next."""
    directory, rows = tempfile.mkdtemp(prefix="cumae-bench-"), []
    try:
        for name in ("cumae", "victoria-metrics", "prometheus"):
            if name not in without.split(","):
                print(f"bench: {name}", flush=True)
                rows.append(measure_one(name, directory))
                shutil.rmtree(f"{directory}/{'vm' if name.startswith('v') else name}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return rows


def measure(name, binary, directory, workload, plan, end_ms):
    server = start(name, binary, directory)
    try:
        row = {"server": name, **fill(binary, server, plan, end_ms)}
        if "restart" in LIMITS[workload]:
            server = kill_and_start(row, name, server, binary, directory, end_ms)
        row["disk_bytes"], row["dense_s"] = densest(name, server, directory)
        row["asked"] = ask(server, workload, end_ms // 1000)
        row["memory_after_queries"] = server.memory()
        if name == "cumae":
            row["own"] = own_figures(server)
    finally:
        server.end()
    return row


def kill_and_start(row, name, server, binary, directory, end_ms):
    """Kills the server, starts it again, and waits until it counts every series as before.

    Not for workload C: of that a neighbour that syncs every few seconds loses hours, and never counts right again.
    """
    count_all = lambda: server.query('count({cluster="bench"})', end_ms / 1000)[0]["value"][1]
    before = count_all()
    server.kill()
    began = time.monotonic()
    server = start(name, binary, directory)
    row["restart_ready_s"] = time.monotonic() - began
    servers.wait_until("the first right answer", lambda: safely(count_all) == before, every=0.01)
    row["restart_answer_s"] = time.monotonic() - began
    return server


def safely(ask_it):
    try:
        return ask_it()
    except (SystemExit, IndexError, OSError):
        return None


def own_figures(server):
    """What the server's own metrics say about flushes and compactions."""
    text = server.request("GET", "/metrics")[1].decode()
    named = r"^(cumae_store_(?:compact|flush)\w*_(?:sum|total)(?:\{[^}]*\})?) (\S+)$"
    return {m[1]: float(m[2]) for m in re.finditer(named, text, re.M) if float(m[2])}


def show(rows, workload, plan):
    samples = rows[0]["samples"]
    print(f"\nworkload {workload}: {rows[0]['series']:,} series, {plan['rounds']:,} rounds, {samples:,} samples\n")
    lines = [
        ("samples per server CPU-second", lambda r: f"{r['samples_per_server_cpu_second']:,.0f}"),
        ("bytes a sample on disk, dense, index included", lambda r: f"{r['disk_bytes'] / samples:.3f}"),
        ("seconds to get there", lambda r: f"{r['dense_s']:.1f}"),
        ("anonymous memory, bytes a series", lambda r: f"{r['anonymous_bytes_per_series']:,.0f}"),
        ("anonymous memory after the queries, MB", lambda r: f"{r['memory_after_queries'] / 1e6:,.0f}"),
    ]
    if "restart_ready_s" in rows[0]:
        lines.append(("kill -9 until ready / until `count` is right, s",
                      lambda r: f"{r['restart_ready_s']:.2f} / {r['restart_answer_s']:.2f}"))
    lines += [(f"{name}, ms", lambda r, name=name: f"{r['asked'][name][1]:,.1f}") for name in rows[0]["asked"]]
    print("| | " + " | ".join(row["server"] for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for name, cell in lines:
        print(f"| {name} | " + " | ".join(cell(row) for row in rows) + " |")
    for name, value in rows[0].get("own", {}).items():
        print(f"{name} {value:,.3f}")


def judge(by_name, workload):
    """Every target of the design that this run can see; how many are missed."""
    ours, missed = by_name["cumae"], 0
    limits = LIMITS[workload]
    if most := limits.get("disk"):
        per_sample = ours["disk_bytes"] / ours["samples"]
        missed += verdict(f"at most {most} bytes a sample ({per_sample:.3f})", per_sample <= most)
    if most := limits.get("memory"):
        per_series = ours["anonymous_bytes_per_series"]
        missed += verdict(f"at most {most} bytes of memory a series ({per_series:.0f})", per_series <= most)
    rivals = [row for name, row in by_name.items() if name != "cumae"]
    if (vm := by_name.get("victoria-metrics")) and (most := limits.get("restart")):
        ratio = ours["restart_answer_s"] / vm["restart_answer_s"]
        what = f"kill -9 to the right answer in {most} x VictoriaMetrics' time ({ratio:.2f} x)"
        missed += verdict(what, ratio <= most)
    if prometheus := by_name.get("prometheus"):
        for name, (answer, _) in ours["asked"].items():
            if what := compare_prometheus.difference(answer, prometheus["asked"][name][0]):
                missed += verdict(f"{name}: the answer is Prometheus' ({what})", False)
    ratios = []
    for name, (_, ms) in ours["asked"].items():
        if rivals:
            ratios.append(ms / min(row["asked"][name][1] for row in rivals))
            missed += verdict(f"{name}: not slower than the faster neighbour ({ratios[-1]:.2f} x)", ratios[-1] <= 1)
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--workload", choices=WORKLOADS, default="C")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--without", default="")
    flags = parser.parse_args()
    plan = dict(WORKLOADS[flags.workload])
    plan["series"] //= flags.scale
    end_ms = int(time.time()) * 1000 - 1
    rows = in_turn(flags.without, lambda name, directory: measure(
        name, flags.binary, directory, flags.workload, plan, end_ms))
    show(rows, flags.workload, plan)
    print()
    raise SystemExit(1 if judge({row["server"]: row for row in rows}, flags.workload) else 0)


if __name__ == "__main__":
    main()
