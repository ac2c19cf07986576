"""What the rows of the fault table share: a cluster under load, probes, and verdicts that end the run. Standard library only."""

import pathlib
import threading
import time

import servers
from cassandra_cluster import Load, quantile

TAKEOVER_MAX_S = 15
# A percentile below this is not told from the noise of a machine that runs three databases, two servers and the load.
P99_FLOOR_S = 0.5
# Nobody is left without an answer for longer.
WAIT_MAX_S = 15
PROBES = 64
TAKEN = (200, 204)


class Story:
    """A row as it is played: what it starts, measures and promises."""

    def __init__(self, cluster, is_short, series, report):
        self.cluster, self.is_short, self.series, self.report, self.row = cluster, is_short, series, report, ""
        self.loads = []
        # How much the clocks of the processes are ahead.
        self.shift_s = 0

    def either(self, short, whole):
        return short if self.is_short else whole

    def say(self, text):
        line = f"{self.row}: {text}"
        print(f"  {time.strftime('%H:%M:%S')} {line}", flush=True)
        self.report.append(line)

    def expect(self, holds, text):
        if not holds:
            raise SystemExit(f"FAILED: {self.row}: {text}")
        self.say(text)

    def load(self, seconds, **more):
        load = Load(self.cluster, seconds, more.pop("series", self.series), **more)
        self.loads.append(load)
        return load

    def fresh(self, *names):
        """These processes serve everything, and nobody else."""
        for name in names:
            if not self.cluster.process(name).is_alive():
                self.cluster.process(name).launch()
        self.cluster.all_ready()
        self.serving()

    def afresh(self):
        """A row has failed: says what the processes said last, and ends all that it has begun."""
        for one in self.cluster.processes.values():
            if one.server:
                print(f"-- {one.name}, life {one.lives}:\n" + "\n".join(one.log().splitlines()[-25:]), flush=True)
        for load in self.loads:
            load.end()
        self.cluster.end()
        self.cluster.nodes.mend()
        self.shift_s = 0

    def serving(self, seconds=60):
        """Waits until every process that lives takes a write for all places, or answers for all of them, and says how long that took."""
        began = time.monotonic()
        for one in self.cluster.alive("distributor"):
            servers.wait_until(f"{one.name} to take everything", lambda: put(one.server, self.shift_s)[0] in TAKEN, seconds, 0.1)
        for one in self.cluster.alive("querier"):
            servers.wait_until(f"{one.name} to answer for everything", lambda: ask(one.server, self.shift_s)[0] == 200, seconds, 0.1)
        return time.monotonic() - began

    def wait(self, seconds):
        """Lets the load go on."""
        time.sleep(seconds)

    def check(self, load):
        report = load.wait().check()
        wrote = load.wrote
        self.say(f"{report['samples_acknowledged']:,} samples acknowledged, each there once; {load.watched['answers']:,} answers meanwhile, "
                 f"none short; {wrote['requests_refused']} requests refused, {wrote['requests_unanswered']} unanswered, "
                 f"p50/p99 {wrote['request_ms']['p50']:.0f}/{wrote['request_ms']['p99']:.0f} ms")
        return report

    def back_within(self, load, since, until, seconds=TAKEOVER_MAX_S, what="service", of=None):
        """When the last write and the last question were asked that failed, after a fault and before the next thing that was done."""
        failed = lambda all_of: [(at - took - since, took) for at, took, status in all_of if not 200 <= status < 300]
        # Who watches goes on asking the dead, too, and is not answered.
        writes, reads = failed(load.attempts(since, until)), failed(one for one in load.questions(since, until, of) if one[2])
        taken = [at - took - since for at, took, status in load.attempts(since, until) if 200 <= status < 300]
        (last_write, _), (last_read, _) = max(writes, default=(0.0, 0)), max(reads, default=(0.0, 0))
        slowest = max((took for _, took in writes + reads), default=0.0)
        self.expect(max(last_write, last_read) <= seconds and any(asked > last_write for asked in taken),
                    f"{what} is whole again: the last write that failed was sent after {last_write:.1f} s, the last such question after "
                    f"{last_read:.1f} s (at most {seconds} s)")
        self.expect(slowest <= WAIT_MAX_S, f"who was told no waited for at most {slowest:.1f} s (at most {WAIT_MAX_S})")

    def calm_again(self, load, since, seconds=10, window=10):
        """p99 of writes from so many seconds after the fault on, against that before it."""
        p99 = lambda a, b: quantile([took for _, took, status in load.attempts(a, b) if status], 0.99)
        before, after = p99(since - 10, since), p99(since + seconds, since + seconds + window)
        bound = max(2 * before, P99_FLOOR_S)
        self.expect(after <= bound, f"p99 of writes {1000 * before:.0f} ms before, {1000 * after:.0f} ms from {seconds} s after it on "
                                    f"(at most {1000 * bound:.0f})")


def request(server, *what):
    """Status and text of an answer; status 0 is none."""
    try:
        return server.request(*what, timeout=20)
    except OSError as error:
        return 0, str(error).encode()


def put(server, shift_s=0):
    """Writes something into all places, by a clock that is so much ahead."""
    now_ms = int((time.time() + shift_s) * 1000)
    body = "".join(f"probe_{n} {n} {now_ms}\n" for n in range(PROBES)).encode()
    return request(server, "POST", "/api/v1/import/prometheus", body)


def ask(server, shift_s=0):
    """Asks for something of all places, by a clock that is so much ahead."""
    return request(server, "GET", f"/api/v1/query?query=count(%7B__name__%3D~%22probe_.*%22%7D)&time={time.time() + shift_s:.3f}")


def probe(server):
    """Status and text of both: of the first that is not as it should be."""
    status, text = put(server)
    return ask(server) if status in TAKEN else (status, text)


class Prober:
    """Asks one process all the while: (when it was asked, when answered, status) of each probe."""

    def __init__(self, process):
        self.process, self.seen, self.over = process, [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.is_set():
            asked = time.time()
            status, _ = probe(self.process.server)
            self.seen.append((asked, time.time(), status))
            self.over.wait(0.1)

    def stop(self):
        self.over.set()
        self.thread.join(60)
        return self.seen


class Burn:
    """The CPU time that a process takes from now on."""

    def __init__(self, process):
        self.process, self.began, self.cpu = process, time.monotonic(), process.server.cpu_seconds()

    def share(self):
        """Of one processor."""
        return (self.process.server.cpu_seconds() - self.cpu) / (time.monotonic() - self.began)


def faketime(shift_s):
    """The environment of a process whose clock is so much ahead; that of its leases is as it is."""
    found = list(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise SystemExit("FAILED: there is no libfaketime (package faketime), which shifts a process's clock")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": f"{shift_s:+d}s", "DONT_FAKE_MONOTONIC": "1"}
