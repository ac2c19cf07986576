#!/usr/bin/env python3
"""What samples cost a Cassandra that keeps them as tables that one would write first: a row a sample, and a row for each chunk of 120
samples of a series. Beside what `bench_cassandra.py` finds it shows why Cumae does neither.

    naive_schema.py [--samples N] [--heap 2g]

One node of Cassandra 5, RF 1, durable before each answer, prepared statements, 500 of them under way at once. The processor time is the
node's alone: whoever would make chunks and index labels takes his own. Bytes are those of the data files, flushed, compressed as tables are by
default. A chunk has 180 bytes of noise, as 120 samples of 1.5 bytes would be.
"""

import argparse
import itertools
import pathlib
import random
import struct
import subprocess
import tempfile
import time

import servers
from bench_cassandra import Both
from cassandra import JARS, Node, ONE_COPY, SCRIPT

SERIES, INTERVAL_MS, CHUNK, CHUNK_BYTES = 1_000, 15_000, 120, 180
UNDER_WAY = 500
TABLES = {
    "sample": "(series bigint, at bigint, value double, PRIMARY KEY (series, at))",
    "chunk": "(series bigint, at bigint, data blob, PRIMARY KEY (series, at))",
}


def rows_of(name, count, chance):
    """So many rows as they come: of all series one after the other, then of the next time."""
    for number in range(count):
        series, turn = number % SERIES, number // SERIES
        at = 1_700_000_000_000 + turn * INTERVAL_MS * (CHUNK if name == "chunk" else 1)
        value = struct.pack("!d", chance.random()) if name == "sample" else chance.randbytes(CHUNK_BYTES)
        yield struct.pack("!q", series), struct.pack("!q", at), value


def fill(session, name, count, chance):
    """Writes so many rows."""
    column = "value" if name == "sample" else "data"
    prepared = session.prepare(f"INSERT INTO naive.{name} (series, at, {column}) VALUES (?, ?, ?)")
    rows = rows_of(name, count, chance)
    for _ in range(0, count, UNDER_WAY):
        session.execute(prepared, list(itertools.islice(rows, UNDER_WAY)))


def data_bytes(directory, name):
    """Of the files of a table."""
    return sum(path.stat().st_size for path in directory.rglob(f"naive/{name}-*/*-Data.db"))


def measure(node, directory, name, samples):
    """The node's CPU-seconds and bytes, each a sample."""
    session, chance = node.session(), random.Random(7)
    pid = int((directory / f"node{node.number}" / "pid").read_text())
    count = samples // (CHUNK if name == "chunk" else 1) // UNDER_WAY * UNDER_WAY
    session.run(f"CREATE TABLE naive.{name} {TABLES[name]}")
    # The database compiles itself before.
    fill(session, name, count, chance)
    session.run(f"TRUNCATE naive.{name}")
    time.sleep(10)
    cpu, began = Both(pid), time.monotonic()
    fill(session, name, count, chance)
    took, (burnt,) = time.monotonic() - began, cpu.taken()
    session.run(f"ALTER TABLE naive.{name} WITH memtable_flush_period_in_ms = 60000")
    servers.wait_until(f"{name} to be flushed", lambda: data_bytes(directory, name) > 0, 120)
    time.sleep(5)
    held = count * (CHUNK if name == "chunk" else 1)
    print(f"a row a {name}: {held:,} samples in {count:,} rows, {took:.1f} s; {held / burnt:,.0f} samples per CPU-second of the node "
          f"({1e6 * burnt / held:.1f} CPU-s a million), {data_bytes(directory, name) / held:.2f} bytes a sample", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=500_000, help="of the table of samples; of chunks eight times as many")
    parser.add_argument("--heap", default="2g")
    flags = parser.parse_args()
    subprocess.run([SCRIPT, "fetch", JARS], check=True)
    with tempfile.TemporaryDirectory(prefix="cumae-naive-", ignore_cleanup_errors=True) as directory:
        node = Node(directory, 1, HEAP=flags.heap)
        try:
            node.session().run(f"CREATE KEYSPACE naive WITH replication = {ONE_COPY}")
            measure(node, pathlib.Path(directory), "sample", flags.samples)
            measure(node, pathlib.Path(directory), "chunk", 8 * flags.samples)
        finally:
            node.stop()


if __name__ == "__main__":
    main()
