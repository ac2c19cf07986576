"""The rows of the table of faults (docs/cassandra.md): each plays one and asserts its promise.

Each is a function of a `Story`; its cluster has three nodes and the processes `a` and `b`, all of which serve when it begins and have
to when it ends.
"""

import signal
import subprocess
import threading
import time

import servers
from cassandra_overload import nodes_hang, nodes_refuse
from cassandra_story import ENOUGH, TAKEN, TAKEOVER_MAX_S, WAIT_MAX_S, Burn, Prober, faketime, probe

# A lease is trusted for so long, and a request that was let in before may take its time to be answered.
TRUST_S, SLACK_S = 7, 0.5
CPU_SHARE_MAX = 0.5


def kill_round(story, number, seconds, **more):
    """One process is killed under load; the other has its places soon."""
    victim = story.cluster.process("ab"[number % 2])
    load = story.load(seconds + 25, **more)
    story.wait(seconds)
    killed = time.time()
    victim.kill()
    story.wait(17)
    restarted = time.time()
    victim.start()
    story.check(load)
    story.back_within(load, killed, restarted, what=f"round {number + 1}, {victim.name} killed after {seconds} s: service")
    story.serving()


def killed(story):
    """kill -9 of a process; of its successor 5 s after the takeover; of all."""
    a, b, c = (story.cluster.process(name) for name in "abc")
    c.start()
    story.serving()
    load = story.load(story.either(50, 80))
    story.wait(story.either(4, 20))
    first = time.time()
    a.kill()
    story.wait(17)
    second = time.time()
    b.kill()
    story.wait(17)
    third = time.time()
    c.kill()
    for one in (a, b, c):
        one.launch()
    story.cluster.all_ready()
    story.serving()
    back = time.time() - third
    story.check(load)
    story.back_within(load, first, second, what="a killed: service")
    story.back_within(load, second, third, what="its successor killed 5 s after the takeover: service")
    story.expect(back <= TAKEOVER_MAX_S + 5, f"all killed and started again: they serve after {back:.1f} s")
    c.end()
    story.serving()


def killed_in_replay(story):
    """kill -9 of the process that takes over, when it has read some of the journals and not all."""
    a, b, c = (story.cluster.process(name) for name in "abc")
    c.start()
    story.serving()
    load = story.load(story.either(46, 90))
    story.wait(story.either(5, 30))
    had, before = places_of(story.cluster, b), b.log().count("place opened")
    # Slow enough for a kill to come between.
    story.cluster.nodes.proxy.rule(b.known_as(), delay_s=0.1)
    a.kill()
    servers.wait_until("b to take places over", lambda: b.told("cumae_cassandra_places_shut") > 0, 30, 0.01)
    story.wait(0.3)
    second = time.time()
    b.kill()
    taken, opened = places_of(story.cluster, b) - had, b.log().count("place opened") - before
    story.cluster.nodes.proxy.clear(b.known_as())
    story.expect(opened < taken, f"b was killed when it had taken over {taken} places of a and opened {opened} of them")
    story.wait(17 - (time.time() - second))
    restarted = time.time()
    a.start()
    b.start()
    story.check(load)
    story.back_within(load, second, restarted, what="b killed while it read journals: service")
    c.end()
    story.serving()


def killed_in_flush(story):
    """kill -9 of a process that flushes."""
    a = story.cluster.process("a")
    load = story.load(story.either(30, 60))
    story.wait(story.either(6, 30))
    flush = threading.Thread(target=lambda: ask_quietly(a.server, "/ingester/flush"), daemon=True)
    flush.start()
    story.wait(0.15)
    is_at_it = flush.is_alive()
    killed_at = time.time()
    a.kill()
    story.wait(17)
    restarted = time.time()
    a.start()
    story.check(load)
    story.expect(is_at_it, "it was killed while it flushed")
    story.back_within(load, killed_at, restarted)
    story.serving()


def ask_quietly(server, path):
    try:
        server.request("POST", path, b"", timeout=60)
    except OSError:
        pass


def killed_at_midnight(story):
    """kill -9 at the border of a day, of the samples and of the processes' own clocks."""
    a, b = story.cluster.process("a"), story.cluster.process("b")
    # By the clocks of the processes, which are behind by up to a day; they have to serve by then.
    midnight = int(time.time()) + story.either(35, 60)
    shift = -(midnight % 86_400)
    for one in (a, b):
        one.end()
    restart(story, (a, b), shift)
    left = midnight - time.time()
    story.expect(left > 2, f"they serve {left:.0f} s before midnight")
    load = story.load(int(left) + 30, shift_ms=1000 * shift)
    story.wait(midnight - time.time())
    a.kill()
    story.wait(17)
    restarted = time.time()
    a.start(faketime(shift))
    story.check(load)
    times = [int(line.split()[2]) for line in load.ledger.read_text().splitlines() if line.startswith("try")]
    days = {at // 86_400_000 for at in times}
    story.expect(len(days) == 2, f"the samples are of {len(days)} days")
    story.back_within(load, midnight, restarted)
    for one in (a, b):
        one.kill()
    restart(story, (a, b))
    load.check()


def node_fault(story, what, begin, end, seconds):
    """One of three nodes goes wrong for a while: nobody who asks twice notices, soon nobody at all."""
    load = story.load(10 + seconds + story.either(14, 22))
    story.wait(10)
    began = time.time()
    begin()
    story.wait(seconds)
    ended = time.time()
    end()
    story.check(load, 0.4)
    story.goes_on(load, began, ended)
    report = load.wrote
    lost = sum(one.log().count("the lease is lost") for one in story.cluster.alive())
    story.expect(report["refused_twice"] == 0, f"{what}: no request failed twice")
    story.calm_again(load, began, window=min(10, seconds - 10))
    story.say(f"{what}: {lost} leases lost so far, slowest write {report['request_ms']['max'] / 1000:.1f} s")
    story.serving()


def node_killed(story):
    """One of three nodes killed, and started again."""
    nodes = story.cluster.nodes
    node_fault(story, "node 3 killed", lambda: nodes.kill(3), lambda: nodes.start(3), story.either(17, 20))


def node_paused(story):
    """One of three nodes paused."""
    nodes = story.cluster.nodes
    node_fault(story, "node 2 paused", lambda: nodes.signal(2, signal.SIGSTOP), lambda: nodes.signal(2, signal.SIGCONT), story.either(18, 30))


def node_slow(story):
    """One of three nodes slow by 500 ms."""
    proxy = story.cluster.nodes.proxy
    node_fault(story, "node 2 slow by 500 ms", lambda: proxy.rule(node=2, delay_s=0.25), lambda: proxy.clear(None, 2), story.either(20, 30))


def two_nodes_down(story):
    """Two of three nodes down: 503 and not silence, no busy loop, and recovery without a person."""
    nodes = story.cluster.nodes
    load = story.load(story.either(60, 150))
    story.wait(6)
    began = time.time()
    for number in (2, 3):
        nodes.kill(number)
    story.wait(9)
    burns = [Burn(one) for one in story.cluster.alive()]
    story.wait(story.either(8, 60))
    shares = [burn.share() for burn in burns]
    ended = time.time()
    nodes.start(2, 3)
    up = time.time()
    story.cluster.all_ready()
    story.serving()
    back = time.time() - up
    story.check(load)
    attempts = load.attempts(began + 9, ended)
    statuses = {status for _, _, status in attempts}
    slowest = max((took for _, took, _ in attempts), default=0.0)
    story.expect(statuses == {503}, f"{len(attempts)} writes meanwhile were answered with {sorted(statuses)}, the slowest after "
                                    f"{slowest:.1f} s")
    story.expect(slowest <= WAIT_MAX_S, f"nobody waited for longer than {slowest:.1f} s (at most {WAIT_MAX_S})")
    story.expect(max(shares) <= CPU_SHARE_MAX, f"the processes took {', '.join(f'{100 * share:.0f} %' for share in shares)} of a "
                                               f"processor (at most {100 * CPU_SHARE_MAX:.0f} %)")
    story.expect(back <= 30, f"all is served again {back:.1f} s after the nodes are back")


def process_cut_off(story):
    """A process that does not reach the database stops answering in time, and another has its places."""
    for way in story.either(["hang"], ["hang", "cut"]):
        a, proxy = story.cluster.process("a"), story.cluster.nodes.proxy
        seconds = story.either(25, 60)
        load = story.load(seconds + 25)
        prober = Prober(a)
        story.wait(5)
        began = time.time()
        proxy.rule(a.known_as(), **{way: True})
        story.wait(10)
        burn = Burn(a)
        story.wait(seconds - 10)
        share = burn.share()
        ended = time.time()
        proxy.clear(a.known_as())
        story.wait(15)
        seen = prober.stop()
        story.check(load)
        for kind in ("write", "question"):
            of = [one for one in seen if one[3] == kind]
            late = [answered - began for _, answered, status, _ in of if status in TAKEN and began + TRUST_S + SLACK_S < answered < ended]
            told = [status for asked, answered, status, _ in of if began + TRUST_S < asked and answered < ended]
            before = [status for _, answered, status, _ in of if answered < began and status in TAKEN]
            story.expect(before and told and not late, f"{way}: no {kind} was answered by it from {TRUST_S} s on; to {len(told)} it said "
                                                       f"{sorted(set(told))}; {len(before)} were before, {late[:3]} late")
        story.back_within(load, began, ended, what=f"{way}: service by the other one", of=[story.cluster.process("b")])
        story.expect(share <= CPU_SHARE_MAX, f"{way}: it took {100 * share:.0f} % of a processor meanwhile")
        story.serving()


def process_paused(story):
    """A process is stopped in the middle of writes for 30 s, and goes on."""
    a = story.cluster.process("a")
    other = Prober(story.cluster.process("b"))
    load = story.load(60)
    story.wait(5)
    stopped = time.time()
    a.signal(signal.SIGSTOP)
    story.wait(30)
    resumed = time.time()
    a.signal(signal.SIGCONT)
    prober = Prober(a)
    story.wait(10)
    seen, others = prober.stop(), other.stop()
    story.check(load)
    story.expect("the lease is lost" in a.log(), "it found that its lease was lost")
    for kind in ("write", "question"):
        story.expect(any(status in TAKEN for _, _, status, of in seen if of == kind), f"it answers each {kind} again, as another incarnation")
    # A sender that waits for the stopped one waits until that goes on; the other one answers.
    for kind in ("write", "question"):
        of = [one for one in others if one[3] == kind and stopped < one[0] and one[1] < resumed]
        failed = max((asked - stopped for asked, _, status, _ in of if status not in TAKEN), default=0.0)
        good = [asked for asked, _, status, _ in of if status in TAKEN and asked - stopped > failed]
        story.expect(failed <= TAKEOVER_MAX_S and len(good) >= ENOUGH,
                     f"the other one: the last {kind} that failed was sent after {failed:.1f} s (at most {TAKEOVER_MAX_S}), then "
                     f"{len(good)} were answered")
    story.serving()


def refused_at_start(story):
    """What is said by a process that cannot start, and that it ends."""
    one = story.cluster.process("refused")
    # Nobody listens there.
    nowhere = [f"127.0.0.99:{servers.free_port()}"]
    cases = [("no keyspace", one.settings(keyspace="nowhere"), ["no keyspace `nowhere`", "cumae cassandra init"]),
             ("no node there", one.settings(points=nowhere), ["no node of Cassandra answers", "contact_points", nowhere[0]])]
    for name, settings, words in cases:
        one.launch(settings=settings)
        try:
            status = one.server.process.wait(60)
        except subprocess.TimeoutExpired:
            one.kill()
            raise SystemExit(f"FAILED: {story.row}: {name}: it neither starts nor ends:\n{one.log()}") from None
        missing = [word for word in words if word not in one.log()]
        story.expect(status == 1 and not missing, f"{name}: exit status {status}; it says {', '.join(words)}" + (f"; NOT {missing}: {one.log()}" if missing else ""))


def table_dropped(story):
    """The tables of its journals are dropped by hand under a process that serves: it says so, refuses, and does not burn."""
    cluster = story.cluster
    config = cluster.init("dropped")
    one = cluster.process("dropped")
    one.launch(settings=one.settings(keyspace="dropped"))
    one.wait_ready()
    servers.wait_until("it to serve", lambda: probe(one.server)[0] == 200, 120)
    session = cluster.nodes.session()
    journals = [line for line in tables(cluster, config) if line.startswith("journal_")]
    # Shortly before the hour there are two, and which one is written to is the process's matter.
    for journal in journals:
        session.run(f"DROP TABLE dropped.{journal}")
    # A node that has not heard of it takes writes into it. One that was taken for dead hears of it by asking, after a minute.
    began = time.monotonic()
    servers.wait_until("the nodes to agree on the schema", cluster.nodes.agree, 240, 0.5)
    story.say(f"the nodes agree on the schema after {time.monotonic() - began:.1f} s")
    status, text = servers.wait_until(f"a write to be refused, after {journals} were dropped", lambda: refusal(one.server), 60)
    burn, lines = Burn(one), len(one.log().splitlines())
    story.wait(6)
    share, more = burn.share(), len(one.log().splitlines()) - lines
    story.expect(status == 503, f"writes are answered with {status}: {text[:160].decode(errors='replace').strip()}")
    story.expect("cumae cassandra check" in one.log(), "the log says to run `cumae cassandra check`")
    story.expect(share <= CPU_SHARE_MAX and more <= 200, f"it takes {100 * share:.0f} % of a processor and logs {more} lines in 6 s")
    one.kill()
    del cluster.processes["dropped"]


def refusal(server):
    answer = probe(server)
    return None if answer[0] == 200 else answer


def status(cluster, config):
    """What `cumae cassandra status` tells, in words by line."""
    done = subprocess.run([str(cluster.binary), "--config", str(config), "cassandra", "status"], capture_output=True, text=True, timeout=60)
    return [line.split() for line in done.stdout.splitlines() if line.split()]


def tables(cluster, config):
    """The names of the tables."""
    return [words[0] for words in status(cluster, config)]


def places_of(cluster, process):
    """How many places the ring gives to a process."""
    return sum(int(words[3]) for words in status(cluster, cluster.config) if words[1:3] == ["at", f"127.0.0.1:{process.peers}:"])


def stopped_for_three_days(story):
    """All processes stopped for three days: everything acknowledged is there at start."""
    a, b = story.cluster.process("a"), story.cluster.process("b")
    shift = -3 * 86_400
    for one in (a, b):
        one.end()
    restart(story, (a, b), shift)
    load = story.load(story.either(10, 60), shift_ms=1000 * shift)
    load.wait()
    for one in (a, b):
        one.kill()
    restart(story, (a, b))
    story.check(load)


def roles_apart(story):
    """Two of each role in processes of their own; one of each is killed."""
    names = {"ingester": ("in1", "in2"), "distributor": ("dist1", "dist2"), "querier": ("query1", "query2")}
    apart = {name: story.cluster.process(name, (role,)) for role, both in names.items() for name in both}
    for one in apart.values():
        one.launch()
    story.cluster.all_ready()
    for name in "ab":
        story.cluster.process(name).end()
    story.serving()
    load = story.load(story.either(45, 120))
    story.wait(story.either(4, 30))
    first = time.time()
    apart["in1"].kill()
    story.wait(17)
    second = time.time()
    apart["in1"].start()
    for name in ("dist1", "query1"):
        apart[name].kill()
    story.wait(8)
    for name in ("dist1", "query1"):
        apart[name].start()
    story.check(load)
    story.back_within(load, first, second, what="an ingester killed: service")
    story.expect(load.wrote["refused_by_status"].keys() <= {"503"}, f"writes were answered with 2xx and {load.wrote['refused_by_status']}")
    for name in "ab":
        story.cluster.process(name).start()
    for one in apart.values():
        story.expect(one.end() == 0, f"{one.name} ends as it is asked to")
    story.serving()
    story.check(load)


def restart(story, processes, shift_s=0):
    """Starts processes with clocks that are so much ahead, and waits until all serve."""
    story.shift_s = shift_s
    for one in processes:
        one.launch(faketime(shift_s) if shift_s else None)
    story.cluster.all_ready()
    story.serving()


ROWS = {
    "killed": killed,
    "killed-in-replay": killed_in_replay,
    "killed-in-flush": killed_in_flush,
    "killed-at-midnight": killed_at_midnight,
    "node-killed": node_killed,
    "node-paused": node_paused,
    "node-slow": node_slow,
    "two-nodes-down": two_nodes_down,
    "cut-off": process_cut_off,
    "paused": process_paused,
    "nodes-hang": nodes_hang,
    "nodes-refuse": nodes_refuse,
    "refused-at-start": refused_at_start,
    "table-dropped": table_dropped,
    "three-days": stopped_for_three_days,
    "roles": roles_apart,
}
