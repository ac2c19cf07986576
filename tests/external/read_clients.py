#!/usr/bin/env python3
"""Programs that people have ask a cumae: promtool, vmalert, Python's prometheus-api-client, and a Prometheus that federates.

    read_clients.py CUMAE_BINARY CLIENTS_DIR

CLIENTS_DIR is what get_clients has filled.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import remote_write
import servers

STEP_S = 15
SAMPLES = 120
HERE = pathlib.Path(__file__).resolve().parent
RULES = """
groups:
  - name: g
    interval: 1s
    rules:
      - {record: "job:up:sum", expr: "sum by (job) (up)", labels: {by: vmalert}}
      - {alert: Down, expr: "up == 0", labels: {severity: page}}
"""
FEDERATION = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {"match[]": ['{__name__=~"up|dotted.name|gone_by"}']}
    static_configs: [{targets: ['CUMAE']}]
"""


def write(cumae, end_s):
    """Two jobs, of which `b` is down, scraped until now."""
    message = b""
    for job, value in (("a", 1.0), ("b", 0.0)):
        labels = {"__name__": "up", "job": job, "instance": f"{job}:1"}
        at = [(end_s - STEP_S * n) * 1000 for n in reversed(range(SAMPLES))]
        message += remote_write.series(labels, samples=[(t, value) for t in at])
        labels = {**labels, "__name__": "gone_by"}
        message += remote_write.series(labels, samples=[(t, float(n)) for n, t in enumerate(at)])
    message += remote_write.series({"__name__": "dotted.name", "a.b": "c"}, samples=[(end_s * 1000, 7.0)])
    remote_write.push(cumae, "/api/v1/push", message)


def expect(name, got, wanted):
    print(f"{'holds  ' if got == wanted else 'DIFFERS'} {name}")
    if got != wanted:
        print(f"        got {str(got)[:900]}\n        not {str(wanted)[:900]}")
    return int(got != wanted)


def run(command, stdin=None):
    """Status, what it printed, and what it complained of."""
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def ask_by_promtool(cumae, promtool, end_s):
    failed = 0
    query = lambda *arguments: run([promtool, "query", *arguments])
    status, out, err = query("instant", cumae.url, "up", "--time", end_s)
    lines = [f'up{{instance="{job}:1", job="{job}"}} => {value} @[{end_s}]' for job, value in (("a", 1), ("b", 0))]
    failed += expect("promtool query instant", (status, out.splitlines(), err), (0, lines, ""))
    status, out, err = query("instant", cumae.url, "sum(")
    failed += expect("promtool query instant, refused", (status, "parse error" in err), (1, True))
    arguments = ["--start", end_s - 60, "--end", end_s, "--step", f"{STEP_S}s"]
    status, out, err = query("range", *arguments, cumae.url, "sum(up)")
    rows = ["{} =>", *(f"1 @[{end_s - 60 + STEP_S * n}]" for n in range(5))]
    failed += expect("promtool query range", (status, out.split("\n")[:6], err), (0, rows, ""))
    around = ["--start", end_s - 600, "--end", end_s]
    status, out, err = query("series", *around, "--match", 'up{job="a"}', cumae.url)
    failed += expect("promtool query series", (status, out.strip(), err), (0, '{__name__="up", instance="a:1", job="a"}', ""))
    status, out, err = query("labels", *around, cumae.url, "job")
    failed += expect("promtool query labels", (status, out.split(), err), (0, ["a", "b"], ""))
    status, out, err = run([promtool, "check", "metrics"], cumae.request("GET", "/metrics")[1])
    return failed + expect("promtool check metrics", (status, out, err), (0, "", ""))


def ask_by_vmalert(cumae, directory):
    """Its rules are evaluated here, written here, and the state of an alert comes back from here after a restart."""
    rules = directory / "rules.yaml"
    rules.write_text(RULES)
    port = servers.free_port()
    command = [servers.NEIGHBOURS / "vmalert", f"-rule={rules}", f"-datasource.url={cumae.url}", f"-remoteWrite.url={cumae.url}",
               f"-remoteRead.url={cumae.url}", "-remoteWrite.flushInterval=200ms", "-notifier.blackhole",
               f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=WARN"]
    failed, seen = 0, 0
    for start in ("first", "second"):
        vmalert = servers.Server("vmalert", command, port, directory / "vmalert.log", "/health")
        try:
            began = time.time()
            asked = 'count_over_time({by="vmalert"}[1m]) or count_over_time(ALERTS{alertname="Down"}[1m])'
            servers.wait_until("rules of vmalert to be written back", lambda: len(cumae.query(asked, time.time() + 1)) == 3)
            written = [(row["metric"]["job"], row["value"][1])
                       for row in cumae.query('last_over_time({__name__="job:up:sum",by="vmalert"}[1m])', time.time())]
            failed += expect(f"vmalert records, {start} start", sorted(written), [("a", "1"), ("b", "0")])
            alerts = cumae.query('last_over_time(ALERTS{alertname="Down"}[1m])', time.time())
            got = [(row["metric"]["job"], row["metric"]["alertstate"], row["metric"]["severity"]) for row in alerts]
            failed += expect(f"vmalert alerts, {start} start", got, [("b", "firing", "page")])
            # Before it is told to end, which breaks off what it sends.
            lines = (directory / "vmalert.log").read_text().splitlines()[seen:]
            failed += expect(f"vmalert has nothing to complain of, {start} start", [line for line in lines if "\terror\t" in line], [])
        finally:
            vmalert.end()
        seen = len((directory / "vmalert.log").read_text().splitlines())
    return failed


def ask_by_api_client(cumae, python, end_s):
    status, out, err = run([python, HERE / "ask_by_api_client.py", cumae.url, end_s - 600, end_s])
    if status != 0:
        return expect("prometheus-api-client", err[-2000:], "")
    got, failed = json.loads(out), 0
    wanted = {"is_connected": True, "jobs": ["a", "b"], "now": [str(float(SAMPLES - 1)).removesuffix(".0")], "sum": ["1"],
              "steps": [11], "samples": [40]}
    for key, value in wanted.items():
        failed += expect(f"prometheus-api-client: {key}", got[key], value)
    has = {"up", "gone_by", "dotted.name"} <= set(got["metrics"]) and {"a.b", "job"} <= set(got["labels"])
    return failed + expect("prometheus-api-client: names", has, True)


def federate(cumae, directory):
    """A Prometheus scrapes our newest samples, with their labels and times."""
    prometheus = servers.prometheus(directory / "federating", FEDERATION.replace("CUMAE", f"127.0.0.1:{cumae.port}"))
    try:
        query = '{__name__=~"up|gone_by",job=~"a|b"}[10m]'
        found = lambda: prometheus.query(query, time.time())
        servers.wait_until("a Prometheus to have scraped /federate", lambda: len(found()) == 4)
        theirs = {tuple(sorted(row["metric"].items())): row["values"][-1] for row in found()}
        ours = {tuple(sorted(row["metric"].items())): row["values"][-1] for row in cumae.query(query, time.time())}
        dotted = [(row["metric"]["a.b"], row["values"][-1][1]) for row in prometheus.query('{"dotted.name"}[10m]', time.time())]
        failed = expect("a Prometheus federates: names as they are", dotted, [("c", "7")])
        return failed + expect("a Prometheus federates: series, times and values", theirs, ours)
    finally:
        prometheus.end()


def main():
    binary, clients = sys.argv[1], pathlib.Path(sys.argv[2])
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cumae-clients-"))
    cumae = servers.cumae(binary, directory / "cumae")
    try:
        end_s = int(time.time()) // STEP_S * STEP_S
        write(cumae, end_s)
        failed = ask_by_promtool(cumae, clients / "usr" / "bin" / "promtool", end_s)
        failed += ask_by_api_client(cumae, clients / "venv" / "bin" / "python", end_s)
        failed += federate(cumae, directory)
        failed += ask_by_vmalert(cumae, directory)
    finally:
        cumae.end()
    if failed:
        print(f"logs are in {directory}")
        raise SystemExit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
