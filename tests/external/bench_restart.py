#!/usr/bin/env python3
"""kill -9, start, first right `count`: several times, servers by turns, so that other work on the machine meets all alike.

Each server is filled once with workload A or B (docs/BENCHMARKS.md) and killed with SIGKILL; every start is on a copy of
what that left. The wall clock is what counts; CPU seconds are told beside it, as they bear a busy machine better.

    bench_restart.py CUMAE_BINARY ... [--workload A|B|empty] [--scale N] [--times N] [--without victoria-metrics]

Several binaries of cumae are compared with each other: the first one is the measure. `--workload empty` fills nothing: it
starts each server on an empty directory, and counts until it is ready.
"""

import argparse
import pathlib
import shutil
import statistics
import tempfile
import time

import servers
from benches import LIFTED, SERIES, fill
from bench_store import safely


def start(name, binary, directory):
    if name == "victoria-metrics":
        return servers.victoria_metrics(directory)
    return servers.cumae(binary, directory, LIFTED, name=name)


def count_all(server, end_ms):
    return server.query('count({cluster="bench"})', end_ms / 1000)[0]["value"][1]


def fill_and_kill(name, binary, flags, directory, end_ms):
    """What the first server after it should count; its data stay below `directory`."""
    server = start(name, binary, directory)
    try:
        fill(flags.binaries[0], server, flags.workload, flags.scale, end_ms)
        wanted = count_all(server, end_ms)
    finally:
        server.kill()
    return wanted


def restart(name, binary, filled, wanted, end_ms):
    """Seconds until ready and until the first right answer, and CPU seconds until each."""
    with tempfile.TemporaryDirectory(prefix="cumae-restart-") as directory:
        shutil.copytree(filled, directory, dirs_exist_ok=True)
        began = time.monotonic()
        server = start(name, binary, directory)
        try:
            ready_s, ready_cpu_s = time.monotonic() - began, server.cpu_seconds()
            right = lambda: safely(lambda: count_all(server, end_ms)) == wanted
            servers.wait_until("the first right answer", right, seconds=300, every=0.01)
            return ready_s, time.monotonic() - began, ready_cpu_s, server.cpu_seconds()
        finally:
            server.kill()


def start_empty(name, binary):
    """Seconds until a server without data is ready, and CPU seconds."""
    with tempfile.TemporaryDirectory(prefix="cumae-restart-") as directory:
        began = time.monotonic()
        server = start(name, binary, directory)
        try:
            return time.monotonic() - began, server.cpu_seconds()
        finally:
            server.kill()


def show_empty(contestants, times):
    runs = {name: [] for name, _ in contestants}
    for _ in range(times):
        for name, binary in contestants:
            runs[name].append(start_empty(name, binary))
    print(f"an empty directory; medians of {times}\n")
    print("| | ready, s | CPU until ready, s |\n|---|---|---|")
    for name, seconds in runs.items():
        print(f"| {name} | " + " | ".join(f"{statistics.median(column):.3f}" for column in zip(*seconds)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", nargs="+", type=pathlib.Path)
    parser.add_argument("--workload", choices=["A", "B", "empty"], default="A")
    parser.add_argument("--scale", type=int, default=1, help="take so much less of the series")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--without", default="")
    flags = parser.parse_args()
    contestants = [(f"cumae {index}", binary.resolve()) for index, binary in enumerate(flags.binaries)]
    if "victoria-metrics" not in flags.without:
        contestants.append(("victoria-metrics", None))
    if flags.workload == "empty":
        show_empty(contestants, flags.times)
        return
    end_ms = int(time.time() * 1000)
    with tempfile.TemporaryDirectory(prefix="cumae-restart-") as directory:
        wanted, seconds = {}, {name: [] for name, _ in contestants}
        for name, binary in contestants:
            filled = f"{directory}/{name}"
            wanted[name] = fill_and_kill(name, binary, flags, filled, end_ms)
        for _ in range(flags.times):
            for name, binary in contestants:
                seconds[name].append(restart(name, binary, f"{directory}/{name}", wanted[name], end_ms))
    print(f"workload {flags.workload}, {SERIES[flags.workload] // flags.scale:,} series; medians of {flags.times}\n")
    print("| | ready, s | first right count, s | CPU until ready, s | CPU until right, s |\n|---|---|---|---|---|")
    for name, runs in seconds.items():
        print(f"| {name} | " + " | ".join(f"{statistics.median(column):.2f}" for column in zip(*runs)) + " |")


if __name__ == "__main__":
    main()
