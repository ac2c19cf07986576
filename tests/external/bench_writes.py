#!/usr/bin/env python3
"""The floor for speed: cumae beside VictoriaMetrics and Prometheus, same data, same run, one after the other.

Writes workload A (docs/BENCHMARKS.md) to each, checks that each counts what was sent, and prints one table: samples per
server CPU-second, request latency, anonymous memory per series, one hour of `sum by (job) (rate(m[5m]))` over about
10,000 series, and for cumae bytes per sample after a flush and the time of replay.

    bench_writes.py CUMAE_BINARY [--series N] [--rounds N] [--settle SECONDS] [--without prometheus,...]
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

LIFTED = """
self_metrics: false
limits: {ingestion_rate: 0, max_series: 0, max_series_per_metric: 0, max_query_series: 0, max_query_samples: 0, max_query_bytes: 0}
"""


def write(binary, server, path, end_ms, flags):
    command = [binary, "bench", "write", "--json", "--target", f"127.0.0.1:{server.port}", "--path", path, "--pid", server.pid,
               "--series", flags.series, "--rounds", flags.rounds, "--settle", flags.settle, "--end-ms", end_ms]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {server.name}: {done.stderr}")
    report = json.loads(done.stdout)
    if not report["complete"] or report["errors"]:
        raise SystemExit(f"FAILED: {server.name} does not hold what was sent: {done.stdout}")
    return report


def ask(server, metric, end_s):
    """The answer to the range query, its time in ms (the median of five), and the CPU time of one in ms."""
    parameters = {"query": f"sum by (job) (rate({metric}[5m]))", "start": end_s - 3600, "end": end_s, "step": 15,
                  "nocache": 1}
    answer = server.api("query_range", parameters)
    times, cpu = [], server.cpu_seconds()
    for _ in range(5):
        began = time.monotonic()
        server.api("query_range", parameters)
        times.append(1000 * (time.monotonic() - began))
    return answer, sorted(times)[2], 200 * (server.cpu_seconds() - cpu)


def tree_bytes(directory, keep=lambda path: True):
    return sum(path.stat().st_size for path in pathlib.Path(directory).rglob("*") if path.is_file() and keep(path))


def measure(name, binary, directory, end_ms, flags):
    server = {
        "cumae": lambda: servers.cumae(binary, f"{directory}/cumae", LIFTED),
        "victoria-metrics": lambda: servers.victoria_metrics(f"{directory}/vm"),
        "prometheus": lambda: servers.prometheus(f"{directory}/prometheus", "global: {scrape_interval: 1h}\n"),
    }[name]()
    try:
        row = {"server": name, **write(binary, server, "/api/v1/write", end_ms, flags)}
        metric = "http_request_duration_seconds_bucket" if flags.series >= 100_000 else "node_cpu_seconds_total"
        row["answer"], row["range_ms"], row["range_cpu_ms"] = ask(server, metric, end_ms // 1000)
        row["metric"] = metric
        if name == "cumae":
            after_writes(row, binary, server, directory)
    finally:
        server.end()
    return row


def after_writes(row, binary, server, directory):
    """A kill -9 and the replay after it; then a flush, and what a sample weighs on disk."""
    server.kill()
    began = time.monotonic()
    again = servers.cumae(binary, f"{directory}/cumae", LIFTED)
    row["restart_s"] = time.monotonic() - began
    opened = [line for line in again.log.read_text().splitlines() if "store opened" in line][-1]
    number = lambda key: int(re.search(rf"\b{key}=(\d+)", opened).group(1))
    row["replayed_samples"], row["replay_ms"] = number("samples"), number("millis")
    flushed, _ = again.request("POST", "/ingester/flush")
    row["flush_status"] = flushed
    row["flushed_bytes_per_sample"] = tree_bytes(f"{directory}/cumae/data/store", is_sstable) / row["samples"]
    again.end()


def is_sstable(path):
    return "sst" in path.name or "sst" in path.parent.name


def show(rows, flags):
    print(f"\nworkload A: {rows[0]['series']:,} series, {flags.rounds} rounds, {rows[0]['samples']:,} samples; "
          f"CPU time includes {flags.settle} s of background work\n")
    lines = [
        ("samples per server CPU-second", lambda r: f"{r['samples_per_server_cpu_second']:,.0f}"),
        ("samples per second, wall", lambda r: f"{r['samples_per_second']:,.0f}"),
        ("request p50 / p99 / max ms", lambda r: "{p50:.1f} / {p99:.1f} / {max:.0f}".format(**r["request_ms"])),
        ("anonymous memory, MB", lambda r: f"{r['anonymous_bytes'] / 1e6:,.0f}"),
        ("anonymous memory, bytes a series", lambda r: f"{r['anonymous_bytes_per_series']:,.0f}"),
        ("1 h sum by (job) (rate), ms wall", lambda r: f"{r['range_ms']:,.0f}"),
        ("the same, ms of CPU", lambda r: f"{r['range_cpu_ms']:,.0f}"),
        ("bytes a sample after flush", lambda r: f"{r['flushed_bytes_per_sample']:.2f}"),
        ("replayed samples; s per million", lambda r: (
            f"{r['replayed_samples']:,}; {r['replay_ms'] * 1000 / max(r['replayed_samples'], 1):.2f}")),
        ("kill -9 until ready, s", lambda r: f"{r['restart_s']:.2f}"),
    ]
    print("| | " + " | ".join(row["server"] for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for name, cell in lines:
        cells = []
        for row in rows:
            try:
                cells.append(cell(row))
            except KeyError:
                cells.append("–")
        print(f"| {name} | " + " | ".join(cells) + " |")


def verdict(name, holds):
    print(f"{'holds' if holds else 'MISSED'}: {name}")
    return not holds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=240)
    parser.add_argument("--settle", type=int, default=10)
    parser.add_argument("--without", default="")
    flags = parser.parse_args()
    end_ms = int(time.time()) * 1000 - 1
    directory = tempfile.mkdtemp(prefix="cumae-bench-")
    rows = []
    for name in ("cumae", "victoria-metrics", "prometheus"):
        if name not in flags.without.split(","):
            print(f"bench: {name}", flush=True)
            rows.append(measure(name, flags.binary, directory, end_ms, flags))
    shutil.rmtree(directory)
    show(rows, flags)
    by_name = {row["server"]: row for row in rows}
    ours, missed = by_name["cumae"], 0
    print()
    missed += verdict("at most 1,500 bytes of memory a series", ours["anonymous_bytes_per_series"] <= 1500)
    if theirs := by_name.get("victoria-metrics"):
        ratio = ours["samples_per_server_cpu_second"] / theirs["samples_per_server_cpu_second"]
        missed += verdict(f"2 x victoria-metrics' samples per CPU-second ({ratio:.2f} x)", ratio >= 2)
    if theirs := by_name.get("prometheus"):
        what = compare_prometheus.difference(ours["answer"], theirs["answer"])
        missed += verdict(f"the range query's answer is Prometheus' {what}", not what)
        ratio = ours["range_ms"] / theirs["range_ms"]
        missed += verdict(f"the range query is not slower than Prometheus ({ratio:.2f} x its time)", ratio <= 1)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
