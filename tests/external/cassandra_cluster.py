"""Real processes for the fault tests: nodes of Cassandra behind a proxy, processes of cumae over them, and a load that proves itself.
Standard library only."""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import time

import servers
from cassandra import JARS, PORTS, SCRIPT
from cql import Cql
from proxy import Proxy

# So long before its end an attempt may be under way, and is not judged by what came of it.
UNDER_WAY_S = 3
# What who watches counts as wrong.
FAULTS = ("missing", "wrong_value", "never_sent", "twice", "torn", "seen_and_gone", "other_answers")
# So long after its start a process may be given places, one after the other.
SETTLE_MAX_S = 60
CQL_PORT = int(PORTS["CQL_PORT"])


def run(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, **more)


class Nodes:
    """Nodes of Cassandra, each with a folder and a number, and the proxy in front of them."""

    def __init__(self, directory, count, heap):
        self.directory, self.count = pathlib.Path(directory), count
        self.env = {**os.environ, **PORTS, "LIB": str(JARS / "lib"), "HEAP": heap, "BEHIND_PROXY": "1"}
        self.proxy = Proxy(count, CQL_PORT)
        self.numbers = range(1, count + 1)
        self.start(*self.numbers)

    def start(self, *numbers):
        """Starts nodes, all at once, and waits until each says that it serves and all see each other."""
        seeds = ",".join(str(number) for number in self.numbers)
        command = lambda number: [str(part) for part in (SCRIPT, "start", self.directory, number, seeds)]
        starting = [subprocess.Popen(command(number), env=self.env) for number in numbers]
        if any(one.wait(180) for one in starting):
            raise SystemExit("FAILED: a node does not start")
        servers.wait_until("the nodes to see each other", self.is_whole, 60)

    def is_whole(self):
        return all(len(self.session(number).rows("SELECT peer FROM system.peers_v2")) == self.count - 1
                   for number in self.numbers if self.is_alive(number))

    def agree(self):
        """Whether all that run have the same schema."""
        versions = [self.session(number).rows("SELECT schema_version FROM system.local") for number in self.numbers if self.is_alive(number)]
        return all(version == versions[0] for version in versions)

    def is_alive(self, number):
        return pathlib.Path(f"/proc/{self.pid(number)}").exists()

    def pid(self, number):
        return int((self.directory / f"node{number}" / "pid").read_text())

    def signal(self, number, what):
        os.kill(self.pid(number), what)

    def kill(self, number):
        self.signal(number, signal.SIGKILL)
        servers.wait_until(f"node {number} to be gone", lambda: not self.is_alive(number), 30)

    def stop(self):
        for number in self.numbers:
            try:
                self.signal(number, signal.SIGCONT)
                self.signal(number, signal.SIGKILL)
            except OSError:
                pass

    def mend(self):
        """All of them run, and are reached."""
        self.proxy.clear_all()
        for number in self.numbers:
            if self.is_alive(number):
                self.signal(number, signal.SIGCONT)
        dead = [number for number in self.numbers if not self.is_alive(number)]
        if dead:
            self.start(*dead)

    def session(self, number=1):
        return Cql(f"127.0.0.{number}", CQL_PORT)

    def points(self):
        return [f"127.0.0.1{number}:{CQL_PORT}" for number in self.numbers]


class Process:
    """A cumae over the nodes. It has a name, and its ports stay the same over its lives."""

    def __init__(self, cluster, name, roles=()):
        self.cluster, self.name, self.roles = cluster, name, roles
        self.port, self.peers, self.lives, self.server = servers.free_port(), servers.free_port(), 0, None
        # When each life began to serve, and when it was ended, if it was.
        self.times = []

    def known_as(self):
        """What the proxy calls it."""
        return f"{self.cluster.keyspace}/{self.name}"

    def settings(self, points=None, keyspace=None):
        """Its configuration; over other nodes or another keyspace if they are given."""
        roles = f"roles: [{', '.join(self.roles)}]\n" if self.roles else ""
        points = json.dumps(points or self.cluster.nodes.points())
        # Who keeps no data does not reach the database: it learns who does from ingesters.
        ingesters = [f"127.0.0.1:{one.peers}" for one in self.cluster.processes.values() if "ingester" in one.roles]
        is_guest = self.roles and "ingester" not in self.roles
        return (f"{roles}storage: cassandra\nself_metrics: false\n"
                f"cassandra: {{contact_points: {['nowhere:1'] if is_guest else points}, keyspace: {keyspace or self.cluster.keyspace}, "
                # Who reads all back asks for the samples of a request, which lie everywhere.
                "cache_bytes: 512MiB}\n"
                f"cluster: {{listen: '127.0.0.1:{self.peers}'{f', ingesters: {ingesters}' if is_guest else ''}}}\n"
                "limits: {ingestion_rate: 0, max_series: 0, max_series_per_metric: 0, max_query_series: 0, "
                "max_query_samples: 0, max_query_bytes: 0}\n")

    def launch(self, env=None, settings=None):
        """Starts, and does not wait: the proxy knows the process before its first connection is looked at."""
        directory = self.cluster.directory / self.name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cumae.yaml").write_text(settings or self.settings())
        self.lives += 1
        self.server = Launched(self.name, [self.cluster.binary, "--config", directory / "cumae.yaml", "--listen",
                                           f"127.0.0.1:{self.port}"], self.port, directory / f"life{self.lives}.log", env)
        self.cluster.nodes.proxy.know(self.known_as(), self.server.pid)

    def start(self, env=None):
        self.launch(env)
        self.wait_ready()

    def wait_ready(self, seconds=60):
        servers.wait_until(f"{self.name} to be ready (log: {self.server.log})", self.server.is_ready, seconds, 0.05)
        if len(self.times) < self.lives:
            self.times.append([time.time(), None])

    def is_alive(self):
        return self.server is not None and self.server.process.poll() is None

    def _is_over(self):
        if self.times and self.times[-1][1] is None and len(self.times) == self.lives:
            self.times[-1][1] = time.time()

    def kill(self):
        self._is_over()
        self.server.kill()

    def end(self):
        """Asks it to end; its status."""
        self._is_over()
        return self.server.end()

    def lived(self, since, until):
        """Whether one life of it served all that time."""
        return any(began <= since and (ended is None or ended >= until) for began, ended in self.times)

    def signal(self, what):
        self.server.process.send_signal(what)

    def log(self):
        return self.server.log.read_text()

    def told(self, name):
        """A metric of its own, summed over its labels; 0 if it has none of this name."""
        _, body = self.server.request("GET", "/metrics", timeout=10)
        lines = [line for line in body.decode().splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


class Launched(servers.Server):
    """A process that is not waited for."""

    def __init__(self, name, command, port, log, env):
        self.name, self.url, self.port, self.log = name, f"http://127.0.0.1:{port}", port, pathlib.Path(log)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env={**os.environ, **(env or {})})
        self.pid = self.process.pid

    def is_ready(self):
        return self._is_ready("/-/ready")


class Cluster:
    """Processes over a keyspace of the nodes, and where their files are."""

    def __init__(self, binary, nodes, keyspace):
        self.binary, self.directory = pathlib.Path(binary).resolve(), nodes.directory / keyspace
        self.nodes, self.keyspace, self.processes, self.loads = nodes, keyspace, {}, 0
        self.directory.mkdir()
        self.config = self.init(keyspace)

    def init(self, keyspace):
        """Makes a keyspace; returns the file that names it."""
        config = self.directory / f"{keyspace}.yaml"
        config.write_text(f"cassandra: {{contact_points: {json.dumps(self.nodes.points())}, keyspace: {keyspace}}}\n")
        replication = f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {min(self.nodes.count, 3)}}}"
        run(self.binary, "--config", config, "cassandra", "init", "--replication", replication, timeout=180, stdout=subprocess.DEVNULL)
        return config

    def process(self, name, roles=()):
        return self.processes.setdefault(name, Process(self, name, roles))

    def alive(self, *roles):
        """The processes that live and take requests, or those of them that have one of the roles."""
        return [one for one in self.processes.values()
                if one.is_alive() and (not roles or not one.roles or set(roles) & set(one.roles))]

    def all_ready(self):
        for one in self.alive():
            one.wait_ready()

    def end(self):
        for one in self.processes.values():
            if one.is_alive():
                one.signal(signal.SIGCONT)
                one.kill()


class Load:
    """Samples that prove themselves, sent to all processes, and read back all the while."""

    def __init__(self, cluster, seconds, series, interval_ms=500, batch=100, shift_ms=0, connections=4, past=30,
                 each_batch=True, ask_ms=100):
        """`each_batch`: while it is written every process has to answer for each batch, and not only at the end. Each is asked every
        `ask_ms`."""
        cluster.loads += 1
        self.each_batch = each_batch
        base = cluster.directory / f"load{cluster.loads}"
        self.cluster, self.ledger, self.log = cluster, base.with_suffix(".ledger"), base.with_suffix(".watch")
        self.wrote = self.watched = None
        self.requests_a_second, self.seconds, self.doubtful = -(-series // batch) * 1000 / interval_ms, seconds, 0
        self.readers = cluster.alive("querier")
        targets = lambda role: [word for one in cluster.alive(role) for word in ("--target", f"127.0.0.1:{one.port}")]
        verify = [cluster.binary, "bench", "verify"]
        self.writer = self._start(*verify, "write", *targets("distributor"), "--ledger", self.ledger, "--series", series,
                                  "--batch", batch, "--metrics", 64, "--connections", connections, "--seconds", seconds,
                                  "--interval", interval_ms, "--shift", shift_ms, "--json")
        self.watcher = self._start(*verify, "watch", *targets("querier"), "--ledger", self.ledger, "--log", self.log,
                                   "--seconds", seconds, "--interval", ask_ms, "--past", past, "--json")

    @staticmethod
    def _start(*command):
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait(self):
        """The reports of both; an answer that was not the truth ends the run."""
        if self.wrote is None:
            self.wrote, self.watched = self._report(self.writer), self._report(self.watcher)
        if any(self.watched[fault] for fault in FAULTS) or not self.watched["holds"] and (self.each_batch or not self.watched["answers"]):
            raise SystemExit(f"FAILED: answers while it was written were not the truth: {self.watched}")
        return self

    def end(self):
        for one in (self.writer, self.watcher):
            if one.poll() is None:
                one.kill()

    @staticmethod
    def _report(one):
        out, error = one.communicate(timeout=3600)
        try:
            return json.loads(out)
        except ValueError:
            raise SystemExit(f"FAILED: {' '.join(one.args)}: {error}") from None

    def attempts(self, since, until=None):
        """Those that were begun then: (when they ended, seconds that they took, status), in order. Status 0 is no answer."""
        lines = (line.split() for line in self.ledger.read_text().splitlines())
        all_of = ((int(line[3]) / 1000, int(line[4]) / 1000, int(line[5])) for line in lines if line[0] in ("ok", "no"))
        return begun(all_of, since, until)

    def questions(self, since, until=None, of=None):
        """The same of the questions of who watched, to all or to this process."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        lines = (line for line in lines if of is None or line[4] == f"127.0.0.1:{of.port}")
        all_of = ((int(line[0]) / 1000, int(line[1]) / 1000, int(line[2])) for line in lines)
        return begun(all_of, since, until)

    def check(self, processes=None):
        """Each acknowledged sample is there once and nothing else, whichever process is asked."""
        # Each reads all there is: they do so at once.
        with concurrent.futures.ThreadPoolExecutor() as readers:
            reports = list(readers.map(self._read_back, processes or self.cluster.alive("querier")))
        # What nobody was promised may turn up late, where a journal is read to its end again. It never goes.
        found = [report["unacknowledged_and_found"] for report in reports]
        if min(found) < self.doubtful:
            raise SystemExit(f"FAILED: not everyone has what was found before: {self.doubtful} samples that were not acknowledged, now {found}")
        self.doubtful = max(found)
        return reports[0]

    def _read_back(self, one):
        command = [self.cluster.binary, "bench", "verify", "read", "--target", f"127.0.0.1:{one.port}", "--ledger", self.ledger, "--json"]
        ask = lambda: subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=3600)
        # Places may still be handed over: a 503 is no answer. It is not for ever.
        done, deadline = ask(), time.monotonic() + SETTLE_MAX_S
        while not done.stdout and "answers 503" in done.stderr and time.monotonic() < deadline:
            time.sleep(1)
            done = ask()
        if done.returncode != 0:
            raise SystemExit(f"FAILED: {one.name} has not what was acknowledged: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


def begun(all_of, since, until):
    """Of (when it ended, seconds that it took, …) those that began in that time, in order. What was under way at its end is what came
    next's, unless it had waited for long by then."""
    is_of = lambda at, took: since <= at - took and (until is None or at < until or at - took < until - UNDER_WAY_S)
    return sorted(one for one in all_of if is_of(one[0], one[1]))


def quantile(numbers, part):
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
