"""The rows of the table of faults (docs/cassandra.md) in which the nodes take less than they are sent, each a function of a `Story`."""

import collections
import signal
import threading
import time

from cassandra_story import ENOUGH, TAKEN, WAIT_MAX_S

# Of each process, a second.
REQUESTS_MAX = 400
REFUSED = 0.3
REFUSALS = ("overloaded", "server-error", "write-timeout", "write-failure")


def nodes_hang(story):
    """Many senders, and nodes that hang for seconds: what waits stays bounded, who is too many is told so, nothing is lost."""
    nodes, proxy = story.cluster.nodes, story.cluster.nodes.proxy
    load = story.load(story.either(50, 90), series=story.either(16_000, story.series), interval_ms=500, batch=250, connections=64, past=5,
                      each_batch=False)
    story.wait(8)
    before = {one.name: (one.server.memory(), proxy.counts(one.known_as())) for one in story.cluster.alive()}
    over, began = threading.Event(), time.time()

    def starve():
        while not over.is_set():
            for number in nodes.numbers:
                nodes.signal(number, signal.SIGSTOP)
            over.wait(5.0)
            for number in nodes.numbers:
                nodes.signal(number, signal.SIGCONT)
            over.wait(0.5)

    starving = threading.Thread(target=starve)
    starving.start()
    peaks = dict.fromkeys(before, 0)
    while time.time() < began + story.either(20, 45):
        story.wait(0.5)
        for one in story.cluster.alive():
            peaks[one.name] = max(peaks[one.name], one.server.memory())
    seconds = time.time() - began
    asked = {one.name: proxy.counts(one.known_as()) - before[one.name][1] for one in story.cluster.alive()}
    over.set()
    starving.join()
    story.cluster.all_ready()
    story.serving()
    story.check(load, 0.02)
    attempts = load.attempts(began, began + seconds)
    statuses = sorted({status for _, _, status in attempts})
    refused = sum(status in (429, 503) for _, _, status in attempts)
    slowest = max(took for _, took, _ in attempts)
    story.expect(refused >= ENOUGH and not set(statuses) - {*TAKEN, 429, 503},
                 f"{refused} of {len(attempts)} writes were told that it is too much; all were answered with {statuses}")
    story.expect(slowest <= 2 * WAIT_MAX_S, f"the slowest was answered after {slowest:.1f} s (at most {2 * WAIT_MAX_S})")
    for name, (memory, _) in before.items():
        grown = (peaks[name] - memory) / 1e6
        story.expect(grown <= 300, f"{name}: memory grew by {grown:.0f} MB (at most 300)")
        no_storm(story, name, asked[name], seconds)


def nodes_refuse(story):
    """Of what the nodes are asked three tenths are refused, half of that once it is done: it is asked again, and nothing is lost."""
    proxy, seconds, after = story.cluster.nodes.proxy, story.either(20, 60), 20
    load = story.load(8 + seconds + after)
    story.wait(8)
    processes = [one.known_as() for one in story.cluster.alive()]
    before = {name: proxy.counts(name) for name in processes}
    began = time.time()
    proxy.rule(refused=REFUSED)
    story.wait(seconds)
    proxy.clear()
    ended = time.time()
    asked = {name: proxy.counts(name) - before[name] for name in processes}
    story.check(load, 0.3)
    refused = sum(asked.values(), collections.Counter())
    story.expect(min(refused[kind] for kind in REFUSALS) >= ENOUGH,
                 "requests were answered with " + ", ".join(f"{kind} {refused[kind]} times" for kind in REFUSALS))
    statuses = sorted({status for _, _, status in load.attempts(began, ended)})
    story.expect(not set(statuses) - {*TAKEN, 503}, f"writes were answered with {statuses}")
    story.goes_on(load, began, ended)
    story.back_within(load, ended, ended + after - 2, what="once the nodes take everything: service")
    for name in processes:
        no_storm(story, name, asked[name], ended - began)


def no_storm(story, name, asked, seconds):
    """A process does not ask the nodes faster for being refused."""
    rate = sum(asked[kind] for kind in ("execute", "batch", "query")) / seconds
    story.expect(rate <= REQUESTS_MAX, f"{name}: {rate:.0f} requests a second to the nodes (at most {REQUESTS_MAX}), "
                                       f"{asked['connections']} connections opened")
