"""What the benchmarks share: servers without limits, filled by `cumae bench write`, one after the other."""

import json
import pathlib
import shutil
import subprocess
import tempfile

import servers

LIFTED = """
self_metrics: false
limits: {ingestion_rate: 0, max_series: 0, max_series_per_metric: 0, max_query_series: 0, max_query_samples: 0, max_query_bytes: 0}
"""

# How many series a workload has at a time.
SERIES = {"A": 100_000, "B": 1_000_000, "C": 12_000, "E": 100_000}


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


def fill(binary, server, workload, scale, end_ms, settle=10):
    """Sends a workload, and checks that the server counts what was sent; the report of it."""
    command = [binary, "bench", "write", "--json", "--target", f"127.0.0.1:{server.port}", "--pid", server.pid, "--end-ms", end_ms,
               "--workload", workload.lower(), "--series", SERIES[workload] // scale, "--settle", settle]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {server.name}: {done.stderr}")
    report = json.loads(done.stdout)
    if not report["complete"] or report["errors"]:
        raise SystemExit(f"FAILED: {server.name} does not hold what was sent: {done.stdout}")
    return report


def tree_bytes(directory, keep=lambda path: True):
    return sum(path.stat().st_size for path in pathlib.Path(directory).rglob("*") if path.is_file() and keep(path))


def verdict(name, holds):
    print(f"{'holds' if holds else 'MISSED'}: {name}")
    return not holds
