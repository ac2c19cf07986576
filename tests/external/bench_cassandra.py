#!/usr/bin/env python3
"""What a sample costs over a Cassandra: the processor time of both processes beside VictoriaMetrics' on the same data in the same run,
rows and bytes by table, bytes a sample once sealed, the memory of a process with a million open series, and what a question about a day
takes beside a cumae over a directory.

    bench_cassandra.py CUMAE [--scale N] [--heap 2g] [--settle SECONDS] [--without writes,victoria-metrics,memory,queries]

One node of Cassandra 5, RF 1, durable before each answer. CUMAE is built with the feature `cassandra`. `--scale 10` takes a tenth of
the series. On a machine that does something else only ratios mean something.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import bench_queries
import benches
import servers
from benches import verdict
from bench_writes import metric
import cassandra
from cassandra import JARS, Node, SCRIPT

# How often VictoriaMetrics' samples per CPU-second the design asks for, of both processes together.
TIMES = 3
SEALED_BYTES_MAX = 0.85
# A question with nothing cached may take so much longer than over a directory, for each megabyte that is fetched.
FETCH_MS_MAX = 12
DAY = ("query_range", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 86_400, 300)
COLD_ROUNDS = 5
MILLION = 1_000_000


class Over:
    """A cumae over a keyspace of its own on the node."""

    def __init__(self, binary, node, directory, keyspace):
        self.node, self.keyspace, self.binary, self.directory = node, keyspace, binary, pathlib.Path(directory) / keyspace
        self.server = cassandra.over(binary, node, self.directory, keyspace, benches.LIFTED)

    def cassandra(self, *arguments):
        command = [self.binary, "--config", self.directory / "cumae.yaml", "cassandra", *arguments]
        return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, timeout=300).stdout

    def begin_again(self):
        """Another process over the same keyspace: it has nothing near yet."""
        self.server.end()
        self.server = servers.cumae(self.binary, self.directory, (self.directory / "cumae.yaml").read_text())

    def last_words(self):
        """Why it may have failed: how often it lost its lease, and what it said last."""
        log = self.server.log.read_text()
        return f"{log.count('the lease is lost')} leases lost; its log ends with:\n" + "\n".join(log.splitlines()[-30:])

    def tables(self):
        """Rows that the node has written by table since it started, and bytes of values that it holds."""
        session, tables = self.node.session(), {}
        counts = session.rows("SELECT keyspace_name, table_name, count FROM system_views.local_write_latency")
        for keyspace, table, count in counts:
            if keyspace == self.keyspace and count:
                tables[table] = {"rows": count, "bytes": self.held(session, table)}
        return tables

    def held(self, session, table):
        keys = {"journal": "writer, bucket", "definitions": "file, part", "segments": "file, part", "manifest": "place"}
        keys = keys.get(table.split("_")[0])
        if not keys:
            return 0
        total = 0
        for key in session.rows(f"SELECT DISTINCT {keys} FROM {self.keyspace}.{table}"):
            where = " AND ".join(f"{name} = {value}" for name, value in zip(keys.split(", "), key))
            values = session.rows(f"SELECT data FROM {self.keyspace}.{table} WHERE {where}")
            total += sum(len(data) for (data,) in values if data)
        return total


class Both:
    """The processor time of several processes."""

    def __init__(self, *pids):
        self.pids, self.before = pids, [self._of(pid) for pid in pids]

    @staticmethod
    def _of(pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def taken(self):
        return [self._of(pid) - before for pid, before in zip(self.pids, self.before)]


def warm(flags, node, directory, end_ms):
    """A quarter of the load before: a database that has just begun compiles itself more than it works."""
    over = Over(flags.binary, node, directory, "warm")
    benches.fill(flags.binary, over.server, "A", 4 * flags.scale, end_ms, flags.settle)
    over.server.end()


def measure_cumae(flags, node, directory, end_ms):
    over = Over(flags.binary, node, directory, "writes")
    pid = int((pathlib.Path(directory) / f"node{node.number}" / "pid").read_text())
    cpu = Both(over.server.pid, pid)
    try:
        row = benches.fill(flags.binary, over.server, "A", flags.scale, end_ms, flags.settle)
    except SystemExit as why:
        raise SystemExit(f"{why}\n{over.last_words()}") from None
    row["cpu"] = cpu.taken()
    row["journal_bytes"] = metric(over.server, "cumae_commit_log_written_bytes_total")
    row["tables"] = over.tables()
    status, body = over.server.request("POST", "/ingester/flush?seal=true", b"", timeout=600)
    if status != 204:
        raise SystemExit(f"FAILED: it does not seal: {status} {body[:300]!r}")
    row["seal_cpu"] = [after - before for after, before in zip(cpu.taken(), row["cpu"])]
    row["sealed"] = {name: over.held(node.session(), name) for name in over.tables() if name.startswith("segments")}
    row["status"] = over.cassandra("status")
    over.server.end()
    return row


def measure_victoria_metrics(flags, directory, end_ms):
    server = benches.start("victoria-metrics", flags.binary, directory)
    try:
        return benches.fill(flags.binary, server, "A", flags.scale, end_ms, flags.settle)
    finally:
        server.end()


def measure_memory(flags, node, directory):
    """Anonymous memory with a million series open, two samples each."""
    over = Over(flags.binary, node, directory, "memory")
    empty = over.server.memory()
    series = MILLION // flags.scale
    command = [flags.binary, "bench", "write", "--json", "--target", f"127.0.0.1:{over.server.port}", "--pid", over.server.pid,
               "--workload", "b", "--series", series, "--rounds", 2, "--settle", flags.settle]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1800)
    report = json.loads(done.stdout) if done.stdout else {"complete": False}
    if not report["complete"]:
        raise SystemExit(f"FAILED: it does not hold what was sent: {done.stdout}{done.stderr}\n{over.last_words()}")
    held, peak = over.server.memory(), report["anonymous_bytes_peak"]
    over.server.end()
    return {"series": series, "empty": empty, "held": held, "peak": peak}


def measure_queries(flags, node, directory, end_ms):
    """A question about a day of workload C, sealed: with nothing cached by a process that has just begun, and asked again and again; and
    the same of a cumae over a directory."""
    over, plain = Over(flags.binary, node, directory, "day"), benches.start("cumae", flags.binary, directory)
    try:
        for server in (over.server, plain):
            benches.fill(flags.binary, server, "C", flags.scale, end_ms, flags.settle)
            status, body = server.request("POST", "/ingester/flush?seal=true", b"", timeout=600)
            if status != 204:
                raise SystemExit(f"FAILED: it does not seal: {status} {body[:300]!r}")
        path, query, span, step = DAY
        _, asked = bench_queries.parameters(query, span, step, end_ms // 1000)
        asked["nocache"] = 1
        cold, answers = [], []
        for _ in range(COLD_ROUNDS):
            over.begin_again()
            before, began = metric(over.server, "cumae_cassandra_fetched_bytes_total"), time.monotonic()
            answers.append(over.server.api(path, asked))
            took = 1000 * (time.monotonic() - began)
            time.sleep(3)
            cold.append((took, (metric(over.server, "cumae_cassandra_fetched_bytes_total") - before) / 1e6))
        of = bench_queries.medians({"over": over.server, "plain": plain}, path, asked)
        if any(answer != of["plain"][0] for answer in [*answers, of["over"][0]]):
            raise SystemExit("FAILED: it answers not as a cumae over a directory does")
        return {"cold": sorted(cold)[len(cold) // 2], "warm": of["over"][1], "plain": of["plain"][1]}
    finally:
        over.server.end()
        plain.end()


def show_queries(queries):
    (cold, fetched), warm, plain = queries["cold"], queries["warm"], queries["plain"]
    print(f"\n24 h, rate by job: nothing cached {cold:.1f} ms, {fetched:.1f} MB fetched; again {warm:.1f} ms; over a directory {plain:.1f} ms")
    most = plain + FETCH_MS_MAX * fetched
    missed = verdict(f"with nothing cached at most what it takes over a directory and {FETCH_MS_MAX} ms a megabyte ({most:.1f} ms)", cold <= most)
    return missed + verdict(f"again at most 1.25 times what it takes over a directory ({warm / plain:.2f} x)", warm <= 1.25 * plain)


def show(ours, theirs, memory):
    samples, (own, database) = ours["samples"], ours["cpu"]
    print(f"\nworkload A over one node, RF 1: {ours['series']:,} series, {samples:,} samples\n")
    print(f"samples per CPU-second of both: {samples / (own + database):,.0f} (cumae {own:.1f} s, Cassandra {database:.1f} s; cumae alone "
          f"{samples / own:,.0f}); {ours['samples_per_second']:,.0f} a second of wall time")
    print("requests, ms: p50 {p50:.1f}, p99 {p99:.1f}, max {max:,.0f}".format(**ours["request_ms"]))
    print(f"sealing took {ours['seal_cpu'][0]:.1f} s of cumae and {ours['seal_cpu'][1]:.1f} s of Cassandra")
    print("\n| table | rows written per million samples | bytes held per million samples, before sealing |\n|---|---|---|")
    for name, of in sorted(ours["tables"].items()):
        print(f"| `{name}` | {of['rows'] * 1e6 / samples:,.1f} | {of['bytes'] * 1e6 / samples:,.0f} |")
    print(f"\njournal: {ours['journal_bytes'] / samples:.2f} bytes a sample")
    missed = 0
    if theirs:
        rate = theirs["samples_per_server_cpu_second"]
        ratio = samples / (own + database) / rate
        print(f"victoria-metrics: {rate:,.0f} samples per CPU-second")
        missed += verdict(f"{TIMES} x VictoriaMetrics' samples per CPU-second, of both processes ({ratio:.2f} x)", ratio >= TIMES)
    sealed = sum(ours["sealed"].values()) / samples
    missed += verdict(f"at most {SEALED_BYTES_MAX} bytes a sample once sealed ({sealed:.2f})", sealed <= SEALED_BYTES_MAX)
    if memory:
        each = (memory["held"] - memory["empty"]) / memory["series"]
        print(f"memory with {memory['series']:,} open series: {memory['held'] / 1e6:,.0f} MB, {each:,.0f} bytes a series; at most "
              f"{memory['peak'] / 1e6:,.0f} MB")
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--settle", type=int, default=10)
    parser.add_argument("--heap", default="2g")
    parser.add_argument("--without", default="")
    flags = parser.parse_args()
    flags.binary = pathlib.Path(flags.binary).resolve()
    without = flags.without.split(",")
    subprocess.run([SCRIPT, "fetch", JARS], check=True)
    end_ms = int(time.time()) * 1000 - 1
    with tempfile.TemporaryDirectory(prefix="cumae-bench-", ignore_cleanup_errors=True) as directory:
        node = Node(directory, 1, HEAP=flags.heap)
        missed = 0
        try:
            if "queries" not in without:
                missed += show_queries(measure_queries(flags, node, directory, end_ms))
            if "writes" not in without:
                warm(flags, node, directory, end_ms)
                ours = measure_cumae(flags, node, directory, end_ms)
                memory = None if "memory" in without else measure_memory(flags, node, directory)
        finally:
            node.stop()
        if "writes" not in without:
            theirs = None if "victoria-metrics" in without else measure_victoria_metrics(flags, directory, end_ms)
            missed += show(ours, theirs, memory)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
