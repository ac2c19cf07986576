#!/usr/bin/env python3
"""What a sample costs to take in: cumae beside VictoriaMetrics and Prometheus, same data, same run, one after the other.

Sends workloads (docs/BENCHMARKS.md) to each, checks that each counts what was sent, and prints a table of each: samples per
second of wall time and of the server's CPU, latency of requests, memory, bytes written while it was sent and bytes on disk.

    bench_writes.py CUMAE_BINARY [--workload A,B,C,E] [--scale N] [--settle SECONDS] [--without prometheus,...]

`--scale 10` takes a tenth of the series; what a process takes without any series then weighs more in a figure of bytes a
series. Workload B at full scale needs 8 GB of memory for Prometheus, and ten minutes with it, three without.
"""

import argparse
import pathlib
import re
import time

import benches
from benches import tree_bytes, verdict

# How often VictoriaMetrics' samples per CPU-second the design asks for.
TIMES = {"A": 8, "B": 12, "C": 4, "E": 7}

# The most anonymous memory that the design allows once the data is there, in bytes an open series.
MEMORY = {"A": 800, "B": 450}

# How often that it may be at its peak, while it is sent: a table that grows holds its old and its new self for a moment, and
# a flush writes what was frozen while the next is filled. What more it takes grows with something else than series.
PEAK_TIMES = 2


def written_bytes(server):
    """Bytes that the process has sent to the disk; what was deleted before it went there does not count."""
    io = dict(line.split(": ") for line in pathlib.Path(f"/proc/{server.pid}/io").read_text().splitlines())
    return int(io["write_bytes"]) - int(io["cancelled_write_bytes"])


def metric(server, name):
    _, body = server.request("GET", "/metrics")
    return float(re.search(rf"^{name} (\S+)$", body.decode(), re.MULTILINE).group(1))


def measure(binary, workload, flags, end_ms):
    def measure_one(name, directory):
        server = benches.start(name, binary, directory)
        try:
            filled = benches.fill(binary, server, workload, flags.scale, end_ms, flags.settle)
            row = {"server": name, **filled}
            row["written_bytes"] = written_bytes(server)
            row["disk_bytes"] = tree_bytes(directory)
            if name == "cumae":
                row["log_bytes"] = metric(server, "cumae_commit_log_written_bytes_total")
        finally:
            server.end()
        return row

    return benches.in_turn(flags.without, measure_one)


def show(workload, rows):
    first = rows[0]
    print(f"\nworkload {workload}: {first['series']:,} series, {first['samples']:,} samples, "
          f"{first['connections']} connections\n")
    per_sample = lambda key: lambda row: f"{row[key] / row['samples']:.2f}" if key in row else "–"
    lines = [
        ("samples per server CPU-second", lambda row: f"{row['samples_per_server_cpu_second']:,.0f}"),
        ("samples per second, wall", lambda row: f"{row['samples_per_second']:,.0f}"),
        ("request p50 / p99 / max, ms", lambda row: "{p50:.1f} / {p99:.1f} / {max:,.0f}".format(**row["request_ms"])),
        ("anonymous memory, MB: at most", lambda row: f"{row['anonymous_bytes_peak'] / 1e6:,.0f}"),
        ("at most, bytes a series", lambda row: f"{row['anonymous_bytes_peak'] / row['series']:,.0f}"),
        ("after it, MB", lambda row: f"{row['anonymous_bytes'] / 1e6:,.0f}"),
        ("after it, bytes a series", lambda row: f"{row['anonymous_bytes_per_series']:,.0f}"),
        ("bytes logged a sample", per_sample("log_bytes")),
        ("bytes written to the disk a sample", per_sample("written_bytes")),
        ("bytes on disk a sample, log and what is not merged yet included", per_sample("disk_bytes")),
    ]
    print("| | " + " | ".join(row["server"] for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for name, cell in lines:
        print(f"| {name} | " + " | ".join(cell(row) for row in rows) + " |")
    print()


def judge_memory(bound, ours):
    """The process is held to its peak as a whole, to what it keeps by what it keeps more than when it was empty."""
    series, after, peak = ours["series"], ours["anonymous_bytes_per_series"], ours["anonymous_bytes_peak"]
    at_most = PEAK_TIMES * bound * series
    kept = f"{series:,} open series in at most {bound} bytes of memory a series, after it ({after:,.0f})"
    bounded = f"{series:,} open series in at most {at_most / 1e6:,.0f} MB of memory, while it is sent ({peak / 1e6:,.0f} MB)"
    return verdict(kept, after <= bound) + verdict(bounded, peak <= at_most)


def judge(workload, rows, rate_of_a):
    by_name = {row["server"]: row for row in rows}
    ours, theirs, missed = by_name["cumae"], by_name.get("victoria-metrics"), 0
    rate = ours["samples_per_server_cpu_second"]
    if theirs:
        asked = TIMES[workload]
        ratio = rate / theirs["samples_per_server_cpu_second"]
        missed += verdict(f"{asked} x VictoriaMetrics' samples per CPU-second ({ratio:.2f} x)", ratio >= asked)
    if workload in MEMORY:
        missed += judge_memory(MEMORY[workload], ours)
    if workload == "E" and rate_of_a:
        cost = 1 - rate / rate_of_a
        missed += verdict(f"replacing all series costs at most an eighth of A's rate ({100 * cost:.0f} %)", cost <= 1 / 8)
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--workload", default="A,B,C,E")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--settle", type=int, default=10)
    parser.add_argument("--without", default="")
    flags = parser.parse_args()
    missed, rate_of_a = 0, None
    for workload in flags.workload.split(","):
        rows = measure(flags.binary, workload, flags, int(time.time()) * 1000 - 1)
        show(workload, rows)
        missed += judge(workload, rows, rate_of_a)
        if workload == "A":
            rate_of_a = rows[0]["samples_per_server_cpu_second"]
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
