#!/usr/bin/env python3
"""Compares answers with a real Prometheus over HTTP: values within 1e-9 relative, NaN equals NaN, labels exactly.

Both are written the same two hours of data and asked the questions of every family of operators and functions
(`written.py`, `questions.py`). Beside that a Prometheus scrapes itself and a cumae every five seconds and remote-writes all
of it to that cumae; after two minutes these two are asked about it at the same fixed times.

    compare_prometheus.py CUMAE_BINARY [SECONDS] [--cassandra]

With 0 seconds nothing is scraped. `--cassandra` has cumae over a real Cassandra.
"""

import argparse
import math
import shutil
import subprocess
import tempfile
import time

import cassandra
import questions
import servers
import written

CONFIG = """
global: {scrape_interval: 5s, evaluation_interval: 1m}
scrape_configs:
  - job_name: prometheus
    static_configs: [{targets: ['SELF']}]
  - job_name: scraped-cumae
    static_configs: [{targets: ['CUMAE']}]
remote_write:
  - url: http://CUMAE/api/v1/push
    queue_config: {batch_send_deadline: 1s}
"""

INSTANT = [
    # Selectors.
    "up", 'up{job="prometheus"}', '{__name__="up"}', '{job="scraped-cumae",__name__=~"process_.*"}',
    'prometheus_http_requests_total{code!="200"}', "up offset 30s", "process_resident_memory_bytes @ AT",
    'absent(up{job="nobody"})', "up == 1", "up * NaN",
    # Rates and other functions over windows.
    "rate(prometheus_http_requests_total[1m])", "irate(process_cpu_seconds_total[30s])",
    "increase(prometheus_tsdb_head_samples_appended_total[45s])", "delta(process_resident_memory_bytes[1m])",
    "deriv(process_resident_memory_bytes[1m])", "changes(process_open_fds[1m])",
    "resets(prometheus_http_requests_total[1m])", "avg_over_time(go_goroutines[1m])",
    "stddev_over_time(go_goroutines[1m])", "quantile_over_time(0.7, go_goroutines[1m])",
    "max_over_time(process_resident_memory_bytes[1m])", "predict_linear(process_resident_memory_bytes[1m], 3600)",
    "sum by (job) (count_over_time(up[1m]))", "{job=\"prometheus\"}[21s]", "last_over_time(up[30s])",
    # Aggregations.
    "sum by (job) (rate(process_cpu_seconds_total[1m]))", "count by (__name__) ({job=~\".+\"})",
    "avg without (code, handler) (rate(prometheus_http_requests_total[1m]))",
    "topk(5, count by (__name__) ({job=\"prometheus\"}))", "quantile(0.9, go_gc_duration_seconds)",
    "count_values(\"value\", up)", "stdvar by (job) (process_open_fds)", "group by (job) (up)",
    # Operators and joins.
    "process_resident_memory_bytes / on (instance, job) group_left up", "process_open_fds / process_max_fds",
    "rate(process_cpu_seconds_total[1m]) * 100 > bool 1", "up and on (job) process_open_fds > 0",
    "go_goroutines or up", "up unless on (job) go_goroutines", "2 ^ 3 ^ 2 - -1 % 3",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
    "sort_desc(sum by (handler) (prometheus_http_requests_total))",
    # Classic histograms.
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[1m])))",
    "histogram_quantile(0.5, prometheus_http_response_size_bytes_bucket)",
    "sum(rate(prometheus_http_request_duration_seconds_sum[1m])) / sum(rate(prometheus_http_request_duration_seconds_count[1m]))",
    # Subqueries.
    "max_over_time(rate(process_cpu_seconds_total[30s])[1m:10s])", "avg_over_time(sum by (job) (up)[1m:10s])",
    "min_over_time((go_goroutines > 5)[1m:10s] offset 10s)",
    # Strings, scalars, time.
    "vector(1) + time()", "scalar(up{job=\"prometheus\"})", "day_of_week(timestamp(up))", "timestamp(up)",
]

RANGE = [
    "up", "rate(process_cpu_seconds_total[30s])", "sum by (job) (rate(process_cpu_seconds_total[1m]))",
    "histogram_quantile(0.99, sum by (le, handler) (rate(prometheus_http_request_duration_seconds_bucket[1m])))",
    "process_resident_memory_bytes - process_resident_memory_bytes offset 10s",
    "max_over_time(rate(prometheus_tsdb_head_samples_appended_total[30s])[30s:5s])",
    "count({job=~\".+\"})", "go_goroutines > 30", "1 + 1",
]

# Written, not scraped; with what has to be switched on for the questions.
CONFIG_WRITTEN = "global: {scrape_interval: 5s, evaluation_interval: 1m}\n"
FLAGS_WRITTEN = ["--enable-feature=native-histograms,promql-experimental-functions"]
CUMAE_WRITTEN = "self_metrics: false\nquery: {features: promql-experimental-functions}\n"

LABELS = [
    ("labels", {}), ("labels", {"match[]": "up"}), ("label/job/values", {}), ("label/__name__/values", {}),
    ("label/le/values", {"match[]": '{__name__=~"prometheus_http_.*"}'}), ("label/nothing/values", {}),
    ("series", {"match[]": ["up", 'process_open_fds{job="scraped-cumae"}']}),
    ("series", {"match[]": '{job="prometheus",__name__=~"prometheus_tsdb_.*"}'}),
]


def same_number(a, b):
    a, b = float(a), float(b)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def same_value(a, b):
    """Floats, or native histograms as the API shows them."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and same_number(a, b)
    rows = lambda of: [[of["count"], of["sum"]], *of.get("buckets", [])]
    return len(rows(a)) == len(rows(b)) and all(
        len(x) == len(y) and all(map(same_number, x, y)) for x, y in zip(rows(a), rows(b)))


def same_samples(a, b):
    return len(a) == len(b) and all(x[0] == y[0] and same_value(x[1], y[1]) for x, y in zip(a, b))


def samples_of(row):
    """Floats and histograms of a series in the order of time."""
    if "value" in row or "histogram" in row:
        return [row.get("value") or row["histogram"]]
    return sorted([*row.get("values", []), *row.get("histograms", [])], key=lambda sample: sample[0])


def difference(ours, theirs, is_ordered=False):
    """What is different in two answers of the query API; empty if nothing is."""
    if ours.get("status") != "success" or theirs.get("status") != "success":
        return f"ours {str(ours)[:300]}, theirs {str(theirs)[:300]}"
    ours, theirs = ours["data"], theirs["data"]
    if isinstance(ours, list):
        order = lambda item: sorted(item.items()) if isinstance(item, dict) else item
        ours, theirs = sorted(ours, key=order), sorted(theirs, key=order)
        only = [x for x in ours if x not in theirs][:3], [x for x in theirs if x not in ours][:3]
        return "" if ours == theirs else f"only ours {only[0]}, only theirs {only[1]}"
    if ours["resultType"] != theirs["resultType"]:
        return f"ours is a {ours['resultType']}, theirs a {theirs['resultType']}"
    if ours["resultType"] == "string":
        return "" if ours["result"] == theirs["result"] else f"{ours['result']} {theirs['result']}"
    if ours["resultType"] == "scalar":
        return "" if same_samples([ours["result"]], [theirs["result"]]) else f"{ours['result']} {theirs['result']}"
    if len(ours["result"]) != len(theirs["result"]):
        return f"ours has {len(ours['result'])} rows, theirs {len(theirs['result'])}"
    rows = lambda data: {tuple(sorted(row["metric"].items())): samples_of(row) for row in data["result"]}
    ours, theirs = rows(ours), rows(theirs)
    for labels in sorted(set(ours) | set(theirs)):
        if not same_samples(ours.get(labels, []), theirs.get(labels, [])):
            ours, theirs = ours.get(labels, []), theirs.get(labels, [])
            pair = next(((x, y) for x, y in zip(ours, theirs) if not same_samples([x], [y])), (ours, theirs))
            return f"{dict(labels)}: ours {pair[0]}, theirs {pair[1]}"[:900]
    if is_ordered and list(ours) != list(theirs):
        return "in another order"
    return ""


def size(answer):
    data = answer.get("data")
    rows = data if isinstance(data, list) else (data or {}).get("result", [])
    return len(rows) if isinstance(rows, list) else 1


def quiet_moment(prometheus, before_s):
    """A moment before `before_s` that lies, modulo a second, as far as can be from every scrape and from whole seconds."""
    matrix = prometheus.query("up[1m]", before_s)
    offsets = sorted({round(sample[0] * 1000) % 1000 for row in matrix for sample in row["values"]} | {0})
    gaps = [(b - a, a) for a, b in zip(offsets, offsets[1:] + [offsets[0] + 1000])]
    width, begin = max(gaps)
    millis = (begin + width // 2) % 1000
    return int(before_s) - 1 + millis / 1000, width // 2


def ask_all(cumae, prometheus, moment):
    asked = []
    for query in INSTANT:
        query = query.replace("AT", f"{moment - 20:.3f}")
        asked.append((f"instant {query}", "query", {"query": query, "time": f"{moment:.3f}"}))
    for query in RANGE:
        for step in (5, 7):
            asked.append((f"range/{step}s {query}", "query_range", {
                "query": query, "start": f"{moment - 49:.3f}", "end": f"{moment:.3f}", "step": step}))
    for path, parameters in LABELS:
        window = {"start": f"{moment - 60:.3f}", "end": f"{moment:.3f}"}
        asked.append((f"{path} {parameters}", path, {**parameters, **window}))
    failed = 0
    for name, path, parameters in asked:
        ours, theirs = cumae.api(path, parameters), prometheus.api(path, parameters)
        what = difference(ours, theirs)
        failed += bool(what)
        print(f"{'DIFFERS' if what else 'same   '} {size(theirs):5} rows  {name}")
        if what:
            print(f"        {what}")
    print(f"compare_prometheus: {len(asked) - failed} of {len(asked)} answers agree")
    return failed, len(asked)


def ask_one(cumae, prometheus, query, moment):
    """What differs in a query's answers at a moment and over a range, annotations and the texts of errors included; and how
    many rows there were. What sorts is asked at the moment only: over a range it has no effect."""
    query = query.replace("AT", f"{moment - 600:.3f}")
    asked = [("query", {"query": query, "time": f"{moment:.3f}"})]
    if not query.startswith("sort"):
        steps = {"start": f"{moment - 1309:.3f}", "end": f"{moment:.3f}", "step": "17"}
        asked.append(("query_range", {"query": query, **steps}))
    rows = 0
    for path, parameters in asked:
        ours, theirs = cumae.api(path, parameters), prometheus.api(path, parameters)
        if theirs.get("status") == "error" and ours.get("error") == theirs["error"]:
            continue
        what = difference(ours, theirs, is_ordered=path == "query" and query.startswith("sort"))
        if what:
            return f"{path}: {what}", rows
        rows += size(theirs)
        for key in ("warnings", "infos"):
            ours_told, theirs_told = sorted(ours.get(key, [])), sorted(theirs.get(key, []))
            if ours_told != theirs_told:
                return f"{path}: {key}: ours {ours_told}, theirs {theirs_told}", rows
    return "", rows


def ask_families(cumae, prometheus, moment):
    """Asks the questions of every family, and returns how many faults there were."""
    faults, agreeing, table = 0, 0, []
    for family, queries in questions.FAMILIES.items():
        agree = answered = 0
        for query in queries:
            what, rows = ask_one(cumae, prometheus, query, moment)
            reason = questions.DIFFERS.get(query)
            agree += not what
            answered += bool(rows)
            if bool(what) != bool(reason):
                faults += 1
                print(f"DIFFERS {family}: {query}\n        {what or 'agrees, and is listed as different: ' + reason}")
            elif reason:
                print(f"other   {family}: {query}\n        {reason}")
        table.append(f"{family:24}{len(queries):8}{agree:8}{len(queries) - agree:8}{answered:8}")
        if agree < questions.FAMILY_MIN:
            faults += 1
            table[-1] += f"   FEWER THAN {questions.FAMILY_MIN} AGREE"
        agreeing += agree
    unknown = set(questions.DIFFERS) - {query for queries in questions.FAMILIES.values() for query in queries}
    print("\n".join([f"{'family':24}{'asked':>8}{'agree':>8}{'differ':>8}{'rows':>8}", *table]))
    print(f"compare_prometheus: {agreeing} of {sum(map(len, questions.FAMILIES.values()))} queries about written data agree")
    if agreeing < questions.ALL_MIN or unknown:
        print(f"DIFFERS {questions.ALL_MIN} have to agree; listed but not asked: {sorted(unknown)}")
        faults += 1
    return faults


# What a tree of Prometheus 3.14 tells and one of 3.5 does not.
NEWER = ("anchored", "smoothed", "offsetExpr", "rangeExpr", "stepExpr", "fillValues")


def without_newer(ours, theirs):
    """Our tree without what theirs is too old to tell."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: without_newer(value, theirs.get(key)) for key, value in ours.items() if key in theirs or key not in NEWER}
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [without_newer(one, other) for one, other in zip(ours, theirs)]
    return ours


def compare_texts(cumae, prometheus):
    """Compares every query's tree and its pretty form, and returns how many faults there were."""
    faults, queries = 0, [query.replace("AT", "1.5") for family in questions.FAMILIES.values() for query in family]
    for query in queries:
        for path in ("parse_query", "format_query"):
            ours, theirs = (server.api(path, {"query": query}) for server in (cumae, prometheus))
            if without_newer(ours, theirs) != theirs:
                faults += 1
                print(f"DIFFERS {path}: {query}\n        ours {str(ours)[:900]}\n        theirs {str(theirs)[:900]}")
    print(f"compare_prometheus: {2 * len(queries) - faults} of {2 * len(queries)} trees and pretty forms agree")
    return faults


def compare_written(start, directory):
    """Writes to both what a query may meet, and asks all questions."""
    cumae = start("written", CUMAE_WRITTEN)
    prometheus = servers.prometheus(f"{directory}/prometheus-written", CONFIG_WRITTEN, *FLAGS_WRITTEN)
    try:
        end_ms = int(time.time()) // 60 * 60_000 - 60_000
        sent, moment = written.write(cumae, prometheus, end_ms), end_ms / 1000 - 200 + 0.95
        held = lambda server: sum(
            len(samples_of(row)) for row in server.query('{__name__=~".+"}[3h]', end_ms / 1000))
        print(f"compare_prometheus: {sent} samples sent, cumae holds {held(cumae)}, Prometheus {held(prometheus)} that are not stale")
        return ask_families(cumae, prometheus, moment) + compare_texts(cumae, prometheus)
    finally:
        prometheus.end()
        cumae.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("seconds", nargs="?", type=float, default=125.0)
    parser.add_argument("--cassandra", action="store_true")
    flags = parser.parse_args()
    directory, node = tempfile.mkdtemp(prefix="cumae-compare-"), None
    start = lambda name, *config: servers.cumae(flags.binary, f"{directory}/cumae-{name}", *config)
    if flags.cassandra:
        subprocess.run([cassandra.SCRIPT, "fetch", cassandra.JARS], check=True)
        node = cassandra.Node(directory, 1)
        start = lambda name, *config: cassandra.over(flags.binary, node, f"{directory}/cumae-{name}", name, *config)
    try:
        failed = compare_written(start, directory)
        if flags.seconds > 0:
            failed += compare_scraped(start, directory, flags.seconds)
    finally:
        if node:
            node.stop()
    if failed:
        print(f"logs are in {directory}")
        raise SystemExit(1)
    shutil.rmtree(directory)


def compare_scraped(start, directory, seconds):
    """Lets Prometheus scrape and send for a while, asks about it, and returns how many faults there were."""
    cumae = start("scraped")
    prometheus = servers.prometheus(f"{directory}/prometheus", CONFIG.replace("CUMAE", f"127.0.0.1:{cumae.port}"))
    try:
        print(f"compare_prometheus: scraping for {seconds:.0f} s", flush=True)
        # Somebody looks at both meanwhile, so that counters move.
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for server in (cumae, prometheus):
                server.api("query", {"query": "sum(up)"})
            prometheus.request("GET", "/api/v1/query?query=sum(")
            time.sleep(1.7)
        moment, distance = quiet_moment(prometheus, time.time() - 6)
        print(f"compare_prometheus: asking at {moment:.3f}, {distance} ms from the nearest scrape (modulo 1 s)")
        # The samples of the last seconds are the last to be sent.
        count = lambda server: sum(len(row["values"]) for row in server.query('{job=~".+"}[1m]', moment))
        held = count(prometheus)
        servers.wait_until(f"cumae to hold {held} samples as Prometheus does", lambda: count(cumae) == held)
        print(f"compare_prometheus: both hold {held} samples of the last minute")
        failed, asked = ask_all(cumae, prometheus, moment)
        refused = prometheus.query("sum(prometheus_remote_storage_samples_failed_total)", moment)[0]["value"][1]
        if refused != "0":
            print(f"DIFFERS {refused} samples were refused by cumae")
            failed += 1
        status = cumae.end()
        if status != 0:
            print(f"DIFFERS cumae ended with {status} on SIGTERM")
            failed += 1
        return failed + (asked < 25)
    finally:
        prometheus.end()
        cumae.end()


if __name__ == "__main__":
    main()
