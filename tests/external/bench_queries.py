#!/usr/bin/env python3
"""How soon dashboards are answered: cumae beside VictoriaMetrics and Prometheus, same data, same run, same machine.

Two sets of data (docs/BENCHMARKS.md): `hour` is an hour of 100,000 series (workload A), `day` a day of 12,000 (workload C).
Each server is filled with one of them and brought to its densest form. Then all of them are asked each question several times,
in turn: cold (the cache of results switched off) and warm (asked before); at last the same question over more hours, series
and steps: the curves. `--before` has another build of Cumae beside them.

    bench_queries.py CUMAE_BINARY [--before OTHER_BINARY] [--data hour|day] [--scale N] [--without prometheus,...] [--only TEXT]

`--scale 10` takes a tenth of the series. Status 1 if an answer differs from Prometheus', if a question takes longer than the
faster neighbour, or if a curve is worse than linear.
"""

import argparse
import contextlib
import http.client
import pathlib
import tempfile
import time
import urllib.parse

import bench_store
import benches
import compare_prometheus
from benches import verdict

DATA = {"hour": "A", "day": "C"}

TARGET = 'instance="ip-10-0-1-17.internal:9100"'

# Name, expression, span and step of the range in seconds; a step of 0 is an instant query.
QUERIES = {
    "hour": [
        ("one series", f'node_hwmon_temp_celsius{{{TARGET},sensor="temp450"}}', 0, 0),
        ("count of all", 'count({cluster="bench"})', 0, 0),
        ("series of each target", 'count by (instance) ({cluster="bench"})', 0, 0),
        ("metrics by number of series", 'topk(6, count by (__name__) ({cluster="bench"}))', 0, 0),
        ("rate by job now", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 0, 0),
        ("25,600 rates now", "rate(node_cpu_seconds_total[5m])", 0, 0),
        ("busiest 10 targets now", "topk(10, sum by (instance) (rate(node_cpu_seconds_total[5m])))", 0, 0),
        ("1 h, one target", f"rate(node_cpu_seconds_total{{{TARGET}}}[5m])", 3600, 15),
        ("1 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 3600, 15),
        ("1 h, rate by target and mode", "sum by (instance, mode) (rate(node_cpu_seconds_total[5m]))", 3600, 60),
        ("1 h, quantile of 10,000 buckets",
         "histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))", 3600, 15),
        ("1 h, quantile of each handler",
         "histogram_quantile(0.9, sum by (le, handler) (rate(http_request_duration_seconds_bucket[5m])))", 3600, 60),
        ("1 h, top 5 targets", "topk(5, sum by (instance) (rate(http_requests_total[5m])))", 3600, 60),
        ("1 h, share of errors",
         'sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m]))',
         3600, 60),
        ("1 h, join of two metrics",
         "sum by (instance) (rate(http_requests_total[5m])) / on (instance) "
         "sum by (instance) (rate(node_cpu_seconds_total[5m]))", 3600, 60),
        ("1 h, targets by regex",
         'avg by (instance) (node_hwmon_temp_celsius{instance=~"ip-10-0-(1|2|3|5|8|13|21|34|55|89)-17.internal:9100"})',
         3600, 15),
        ("subquery now", "max_over_time(sum by (job) (rate(http_requests_total[5m]))[30m:1m])", 0, 0),
    ],
    "day": [
        ("24 h, one series", f'node_hwmon_temp_celsius{{{TARGET},sensor="temp450"}}', 86400, 300),
        ("24 h, one target", f"rate(node_cpu_seconds_total{{{TARGET}}}[5m])", 86400, 300),
        ("1 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 3600, 15),
        ("6 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 21600, 60),
        ("24 h, rate by job", "sum by (job) (rate(node_cpu_seconds_total[5m]))", 86400, 300),
        ("24 h, increase over 1 h", "sum by (job) (increase(http_requests_total[1h]))", 86400, 300),
        ("24 h, quantile of buckets",
         "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))", 86400, 300),
        ("24 h, average over 1 h", "avg by (job) (avg_over_time(node_hwmon_temp_celsius[1h]))", 86400, 300),
        ("24 h, largest over 1 h", "max by (job) (max_over_time(node_hwmon_temp_celsius[1h]))", 86400, 300),
        ("24 h, median over 1 h", "avg by (job) (quantile_over_time(0.5, node_hwmon_temp_celsius[1h]))", 86400, 300),
        ("24 h, count of all", 'count by (instance) ({cluster="bench"})', 86400, 600),
        ("24 h, top 5", "topk(5, rate(http_requests_total[5m]))", 86400, 600),
        ("24 h, against the hour before",
         "sum(rate(http_requests_total[5m])) / sum(rate(http_requests_total[5m] offset 1h))", 82800, 300),
        ("6 h, subquery", "max_over_time(sum by (job) (rate(http_requests_total[5m]))[1h:5m])", 21600, 300),
    ],
}

LABELS = [
    ("label names", "labels", {}),
    ("targets", "label/instance/values", {}),
    ("series of one target", "series", {"match[]": f"{{{TARGET}}}"}),
]

# What grows; for each size its expression, span and step. A curve is linear if eight times the size takes at most eight
# times the time, and as much again as timing is off.
CPUS = lambda count: f'sum(rate(node_cpu_seconds_total{{cpu=~"{"|".join(map(str, range(count)))}"}}[5m]))'
CURVES = {
    "hours": {n: ("sum(rate(node_cpu_seconds_total[5m]))", 3600 * n, 60) for n in (3, 6, 12, 23)},
    "series": {96 * n: (CPUS(n), 21600, 60) for n in (4, 8, 16, 32)},
    "steps": {n: ("sum(rate(node_cpu_seconds_total[5m]))", 21600, 21600 // n) for n in (90, 180, 360, 720, 1440)},
}
CURVE_SLACK = 1.25
# Each question is asked so often, and for as long: the median of seven answers of half a millisecond says how a processor wakes up.
ROUNDS, LONG_ENOUGH_S = 7, 0.25


def parameters(query, span, step, end_s):
    if not step:
        return "query", {"query": query, "time": end_s}
    end = end_s - end_s % step
    return "query_range", {"query": query, "start": end - span, "end": end, "step": step}


def medians(servers, path, asked):
    """Of each server its answer, and the median time of some more in ms: from the request until the last byte is there, over
    a connection that is kept. They are asked in turn, so that a machine that is slower for a while is so for all of them.
    What it takes to decode an answer is the client's."""
    answers, times = {}, {name: [] for name in servers}
    for name, server in servers.items():
        answers[name] = server.api(path, asked)
        if answers[name].get("status") != "success":
            raise SystemExit(f"FAILED: {name}: {path} {asked}: {str(answers[name])[:400]}")
    target = f"/api/v1/{path}?{urllib.parse.urlencode(asked, doseq=True)}"
    with contextlib.ExitStack() as stack:
        connect = lambda server: http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        connections = {name: stack.enter_context(contextlib.closing(connect(server))) for name, server in servers.items()}
        until = time.monotonic() + LONG_ENOUGH_S * len(servers)
        while len(times[next(iter(times))]) < ROUNDS or time.monotonic() < until:
            for name, connection in connections.items():
                began = time.monotonic()
                connection.request("GET", target)
                connection.getresponse().read()
                times[name].append(1000 * (time.monotonic() - began))
    return {name: (answers[name], sorted(of)[len(of) // 2]) for name, of in times.items()}


def ask(servers, data, end_s, only):
    """By server and question: the answer, and the times cold and warm in ms."""
    asked = {name: {} for name in servers}
    for question, query, span, step in QUERIES[data]:
        if only in question:
            path, params = parameters(query, span, step, end_s)
            cold, warm = medians(servers, path, params | {"nocache": 1}), medians(servers, path, params)
            for name, (answer, ms) in cold.items():
                asked[name][question] = answer, ms, warm[name][1]
    for question, path, params in LABELS:
        if only in question:
            for name, (answer, ms) in medians(servers, path, params | {"start": end_s - 3600, "end": end_s}).items():
                asked[name][question] = answer, ms, ms
    return asked


def curves(servers, end_s):
    """By server, and for each thing that grows by its size, the time in ms."""
    drawn = {name: {} for name in servers}
    for what, sizes in CURVES.items():
        for size, (query, span, step) in sizes.items():
            path, params = parameters(query, span, step, end_s)
            for name, (_, ms) in medians(servers, path, params | {"nocache": 1}).items():
                drawn[name].setdefault(what, {})[size] = ms
    return drawn


def filled(name, flags, directory, end_ms):
    """A server with the data in its densest form."""
    kind, binary = ("cumae", flags.before) if name == "before" else (name, flags.binary)
    directory = f"{directory}/{name}"
    pathlib.Path(directory).mkdir()
    server = benches.start(kind, binary, directory)
    try:
        benches.fill(flags.binary, server, DATA[flags.data], flags.scale, end_ms)
        bench_store.densest(kind, server, directory)
    except BaseException:
        server.end()
        raise
    return server


def measure(flags):
    """What each server was asked, and how long it took."""
    end_ms, servers = int(time.time()) * 1000 - 1, {}
    names = ["cumae", *(["before"] if flags.before else []), "victoria-metrics", "prometheus"]
    with tempfile.TemporaryDirectory(prefix="cumae-bench-") as directory, contextlib.ExitStack() as running:
        for name in names:
            if name not in flags.without.split(","):
                print(f"bench: {name}", flush=True)
                servers[name] = filled(name, flags, directory, end_ms)
                running.callback(servers[name].end)
        asked = ask(servers, flags.data, end_ms // 1000, flags.only)
        drawn = {}
        if flags.data == "day" and not flags.only:
            drawn = curves(servers, end_ms // 1000)
    return [{"server": name, "asked": asked[name], "curves": drawn.get(name, {})} for name in servers]


def show(rows):
    print("\n| ms, cold; warm | " + " | ".join(row["server"] for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for name in rows[0]["asked"]:
        cells = (row["asked"][name] for row in rows)
        print(f"| {name} | " + " | ".join(f"{cold:,.1f}; {warm:,.1f}" for _, cold, warm in cells) + " |")
    for what in rows[0].get("curves", {}):
        print(f"\n| {what} | " + " | ".join(row["server"] + ", ms" for row in rows) + " |")
        print("|---|" + "---|" * len(rows))
        for size in CURVES[what]:
            print(f"| {size:,} | " + " | ".join(f"{row['curves'][what][size]:,.1f}" for row in rows) + " |")


def judge(by_name):
    """How much of what the design asks for this run does not show."""
    ours, missed = by_name["cumae"], 0
    rivals = [row for name, row in by_name.items() if name not in ("cumae", "before")]
    cold, warm = [], []
    for name, (answer, ms, warm_ms) in ours["asked"].items():
        if prometheus := by_name.get("prometheus"):
            if what := compare_prometheus.difference(answer, prometheus["asked"][name][0]):
                missed += verdict(f"{name}: the answer is Prometheus' ({what})", False)
        if rivals:
            cold.append(ms / min(row["asked"][name][1] for row in rivals))
            warm.append(warm_ms / min(row["asked"][name][2] for row in rivals))
            what = f"{name}: not slower than the faster neighbour ({cold[-1]:.2f} x cold, {warm[-1]:.2f} x warm)"
            missed += verdict(what, max(cold[-1], warm[-1]) <= 1)
    if cold:
        middle = sorted(cold)[len(cold) // 2]
        missed += verdict(f"the median is 0.3 x the faster neighbour's time ({middle:.2f} x cold)", middle <= 0.3)
    for what, by_size in ours.get("curves", {}).items():
        (least, first_ms), (most, last_ms) = min(by_size.items()), max(by_size.items())
        growth, factor = most / least, last_ms / first_ms
        is_linear = factor <= CURVE_SLACK * growth
        missed += verdict(f"{growth:.1f} times the {what} take {factor:.1f} times the time", is_linear)
    return missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--data", choices=DATA, default="day")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--without", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--before", help="another build of cumae, to be compared")
    flags = parser.parse_args()
    rows = measure(flags)
    show(rows)
    print()
    raise SystemExit(1 if judge({row["server"]: row for row in rows}) else 0)


if __name__ == "__main__":
    main()
