#!/usr/bin/env python3
"""Faults with real processes: three nodes of Cassandra behind a proxy, processes of cumae over them, samples that prove themselves.

    cassandra_faults.py CUMAE [--short [--at-once]] [--row NAME,...] [--rounds N] [--load SERIES] [--report FILE]

Plays each row of the table of faults (docs/cassandra.md) and rounds of kill -9, and ends with status 1 if a promise does not hold. While it is written everything is read back: an error is no answer, a short answer is a fault. At the end of a row each
process says whether every acknowledged sample is there, once. `--short` plays two rounds and each row once, with small load; without it
ten rounds of two minutes, one of fifteen at 100,000 samples a second, and each row for longer, with 100,000 series. `--at-once` plays some of the short rows
together: for machines with processors to spare, since what is judged are seconds.

CUMAE is built with the feature `cassandra`. Nodes listen on 127.0.0.N, the proxy on 127.0.0.1N.
"""

import argparse
import concurrent.futures
import os
import pathlib
import platform
import signal
import subprocess
import tempfile
import time

from cassandra import JARS, SCRIPT
from cassandra_cluster import Cluster, Nodes
from cassandra_rows import ROWS, kill_round
from cassandra_story import Story


# Rows that leave the nodes alone: `--at-once` plays these lists together, each over a keyspace of its own, since they mostly wait.
AT_ONCE = [
    ["rounds", "killed", "killed-in-replay"],
    ["killed-in-flush", "killed-at-midnight", "three-days", "refused-at-start"],
    ["cut-off", "paused", "roles", "table-dropped"],
]


def rounds(story, count):
    """Rounds of kill -9."""
    for number in range(count):
        kill_round(story, number, story.either(6, 120))
    if not story.is_short:
        # 100,000 samples a second: every series once a second, by requests as a Prometheus sends them.
        kill_round(story, count, 900, series=100_000, interval_ms=1000, batch=2000, connections=64, past=5,
                   ask_ms=500)


def play(story, name, count):
    """One row."""
    row = ROWS.get(name) or (lambda story: rounds(story, count))
    print(f"== {name}: {(row.__doc__ or rounds.__doc__).strip()}", flush=True)
    story.row, began = name, time.monotonic()
    row(story)
    story.say(f"it took {time.monotonic() - began:.0f} s, the machine's load average is {os.getloadavg()[0]:.0f}")


class Stage:
    """The nodes, and a cluster of processes for each keyspace."""

    def __init__(self, flags, directory, report):
        self.flags, self.report, self.clusters = flags, report, []
        self.nodes = Nodes(directory, 3, flags.heap)

    def play(self, keyspace, names):
        """Rows, one after the other, over a keyspace; of those that failed, why."""
        cluster = Cluster(self.flags.binary, self.nodes, keyspace)
        self.clusters.append(cluster)
        story, failed = Story(cluster, self.flags.short, self.flags.load, self.report), []
        try:
            for name in names:
                story.fresh("a", "b")
                try:
                    play(story, name, self.flags.rounds)
                except SystemExit as why:
                    failed.append(f"{why}")
                    story.say(f"{why}")
                    story.afresh()
        finally:
            cluster.end()
        return failed

    def play_all(self, names):
        """All of them; of those that failed, why."""
        failed, alone = [], names
        if self.flags.short and self.flags.at_once:
            lists = [[name for name in some if name in names] for some in AT_ONCE]
            with concurrent.futures.ThreadPoolExecutor(len(lists)) as lanes:
                playing = [lanes.submit(self.play, f"lane{number}", some) for number, some in enumerate(lists) if some]
                for one in playing:
                    failed += one.result()
            alone = [name for name in names if not any(name in some for some in AT_ONCE)]
        return failed + (self.play("faults", alone) if alone else [])

    def end(self):
        for cluster in self.clusters:
            cluster.end()
        self.nodes.stop()


def header(flags, version):
    memory = next(line for line in pathlib.Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return [
        "Faults of docs/cassandra.md, played with real processes by tests/external/cassandra_faults.py",
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {version}, Apache Cassandra 5.0.6, three nodes of {flags.heap}, RF 3, two "
        "processes (a third where a row needs one)",
        f"{os.cpu_count()} processors, {int(memory.split()[1]) / 1e6:.0f} GB, {platform.system()} {platform.release()}; all of it and the "
        f"load on this machine, whose load average was {os.getloadavg()[1]:.0f} when it began",
        f"{'short' if flags.short else 'whole'}: {flags.load:,} series, a sample each {'half second' if flags.short else 'ten seconds'} unless "
        "said otherwise",
        "",
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--at-once", action="store_true", help="short rows that leave the nodes alone together")
    parser.add_argument("--row", default=",".join(["rounds", *ROWS]))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--load", type=int, help="series")
    parser.add_argument("--heap", default="512m")
    parser.add_argument("--report")
    flags = parser.parse_args()
    flags.load = flags.load or (400 if flags.short else 100_000)
    flags.rounds = (2 if flags.short else 10) if flags.rounds is None else flags.rounds
    names = flags.row.split(",")
    if unknown := set(names) - {"rounds", *ROWS}:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are rounds, {', '.join(ROWS)}")
    # Whoever ends this ends all that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    subprocess.run([SCRIPT, "fetch", JARS], check=True)
    version = subprocess.run([flags.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    report, began = header(flags, version), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cumae-faults-", ignore_cleanup_errors=True) as directory:
        stage, failed = Stage(flags, directory, report), None
        try:
            print(f"== three nodes serve ({time.monotonic() - began:.0f} s)", flush=True)
            failed = stage.play_all(names)
        finally:
            stage.end()
            if flags.report:
                report.append(f"\n{time.strftime('%H:%M', time.gmtime())} UTC, after {time.monotonic() - began:.0f} s: "
                              + ("it was ended" if failed is None else f"{len(failed)} FAILED" if failed else f"all {len(names)} rows hold"))
                pathlib.Path(flags.report).write_text("\n".join(report) + "\n")
    if failed:
        raise SystemExit("\n".join(failed))
    print(f"cassandra_faults: {len(names)} rows hold ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
