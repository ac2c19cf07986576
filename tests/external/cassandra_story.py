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
# So many answers are not chance.
ENOUGH = 3
# What is not answered takes so long.
NEVER_S = 1e6
TAKEN = (200, 204)
# How often a series has a sample, and how many a request: of a short list, and of a whole one.
SHORT, WHOLE = {"interval_ms": 500, "batch": 100}, {"interval_ms": 10_000, "batch": 1_000}


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

    def expect_quietly(self, holds, text):
        if not holds:
            raise SystemExit(f"FAILED: {self.row}: {text}")

    def load(self, seconds, **more):
        load = Load(self.cluster, seconds, more.pop("series", self.series), **{**self.either(SHORT, WHOLE), **more})
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

    def check(self, load, least=0.1):
        """Each acknowledged sample is there, and there were enough of them: at least this part of what was to be sent."""
        report = load.wait().check()
        wrote = load.wrote
        taken = len([one for one in load.attempts(0) if one[2] in TAKEN])
        wanted = least * load.requests_a_second * load.seconds
        self.expect(taken >= wanted, f"{taken:,} writes acknowledged (at least {wanted:,.0f})")
        self.say(f"{report['samples_acknowledged']:,} samples acknowledged ({report['samples_acknowledged'] / load.seconds:,.0f} a second), each "
                 f"there once; {load.watched['answers']:,} answers meanwhile, "
                 f"none short; {wrote['requests_refused']} requests refused, {wrote['requests_unanswered']} unanswered, "
                 f"p50/p99 {wrote['request_ms']['p50']:.0f}/{wrote['request_ms']['p99']:.0f} ms")
        return report

    def back_within(self, load, since, until, seconds=TAKEOVER_MAX_S, what="service", of=None):
        """When the last write and the last question were begun that failed, after a fault and before the next thing that was done.
        No answer is a failure. Processes that live through that time are asked, or these."""
        of = of or [one for one in load.readers if one.lived(since, until)]
        writes = load.attempts(since, until)
        failures, tells = {"write": [one for one in writes if one[2] not in TAKEN]}, []
        answered = [("writes", writes)]
        for one in of:
            asked = load.questions(since, until, one)
            failures[f"question to {one.name}"] = [each for each in asked if each[2] != 200]
            answered.append((f"questions to {one.name}", asked))
        last = {name: max((at - took - since for at, took, _ in all_of), default=0.0) for name, all_of in failures.items()}
        for name, all_of in answered:
            good = [at for at, took, status in all_of if status in TAKEN and at - took > since + max(last.values())]
            tells.append(f"{len(good)} {name}")
            self.expect_quietly(len(good) >= ENOUGH, f"{what}: {len(good)} {name} were answered after the last failure, after "
                                                     f"{max(last.values()):.1f} s (at least {ENOUGH})")
        slowest = max((took for all_of in failures.values() for _, took, _ in all_of), default=0.0)
        self.expect(bool(of) and max(last.values()) <= seconds,
                    f"{what} is whole again: " + ", ".join(f"the last {name} that failed was sent after {at:.1f} s" for name, at in last.items())
                    + f" (at most {seconds} s); then {', '.join(tells)} were answered")
        self.expect(slowest <= WAIT_MAX_S, f"who was told no waited for at most {slowest:.1f} s (at most {WAIT_MAX_S})")

    def goes_on(self, load, since, until, every=5):
        """In each so many seconds writes are acknowledged, and each process that lives answers."""
        readers = [one for one in load.readers if one.lived(since, until)]
        all_of = {"writes": load.attempts(since, until), **{f"questions to {one.name}": load.questions(since, until, one) for one in readers}}
        counts = {}
        for name, ones in all_of.items():
            spans = range(max(1, int((until - since) / every)))
            counts[name] = min(sum(status in TAKEN and int((at - took - since) / every) == span for at, took, status in ones) for span in spans)
        least = max(1, int(0.2 * every * load.requests_a_second))
        self.expect(bool(readers) and counts["writes"] >= least and min(counts.values()) >= ENOUGH,
                    f"in any {every} s of it at least " + ", ".join(f"{count} {name}" for name, count in counts.items())
                    + f" were taken and answered (at least {least} writes, {ENOUGH} questions)")

    def calm_again(self, load, since, seconds=10, window=10):
        """p99 of writes from so many seconds after the fault on, against that before it. One that failed took for ever."""
        took = lambda a, b: [one[1] if one[2] in TAKEN else NEVER_S for one in load.attempts(a, b)]
        before, after = took(since - 10, since), took(since + seconds, since + seconds + window)
        self.expect_quietly(min(len(before), len(after)) >= 10 * ENOUGH, f"{len(before)} writes before and {len(after)} after are enough to judge")
        before, after = quantile(before, 0.99), quantile(after, 0.99)
        bound = max(2 * before, P99_FLOOR_S)
        self.expect(after <= bound < NEVER_S, f"p99 of writes {1000 * before:.0f} ms before, {1000 * after:.0f} ms from {seconds} s after it on "
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
    """Writes to one process and asks it, all the while, neither waiting for the other: (when it was begun, when answered, status, which of
    both) of each."""

    def __init__(self, process):
        self.process, self.seen, self.over = process, [], threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(kind, do), daemon=True) for kind, do in (("write", put), ("question", ask))]
        for thread in self.threads:
            thread.start()

    def _run(self, kind, do):
        while not self.over.is_set():
            begun = time.time()
            status, _ = do(self.process.server)
            self.seen.append((begun, time.time(), status, kind))
            self.over.wait(0.1)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        return sorted(self.seen)


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
