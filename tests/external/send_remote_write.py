#!/usr/bin/env python3
"""Lets real senders write to a cumae: a Prometheus by remote write 2.0 and 1.0, vmagent in zstd and in snappy, and a Go
program with client_golang's own API for 2.0.

A small target with counters, exemplars and classic histograms, and the Prometheus itself with its native histograms, are
scraped every second. Every write goes through a relay that notes its headers and its answer. Afterwards cumae is asked and
Prometheus, from its own storage, and both have to say the same.

    send_remote_write.py CUMAE_BINARY [SECONDS]
"""

import collections
import http.client
import http.server
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import compare_prometheus
import servers

FLAGS = ["--enable-feature=native-histograms,exemplar-storage,metadata-wal-records"]
CONFIG = """
global: {scrape_interval: 1s, evaluation_interval: 1m}
scrape_configs:
  - job_name: prometheus
    static_configs: [{targets: ['SELF']}]
  - job_name: target
    scrape_protocols: [OpenMetricsText1.0.0]
    static_configs: [{targets: ['TARGET']}]
remote_write:
""" + "".join(f"""
  - url: http://RELAY/api/v1/push
    name: version-{version}
    protobuf_message: {message}
    send_exemplars: true
    send_native_histograms: true
    headers: {{X-Scope-OrgID: prometheus-{version}}}
    queue_config: {{batch_send_deadline: 500ms}}
""" for version, message in ((1, "prometheus.WriteRequest"), (2, "io.prometheus.write.v2.Request")))
VMAGENT = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: target
    static_configs: [{targets: ['TARGET']}]
"""

# Asked of tenants that have what Prometheus has.
ASKED = [
    "up", 'count({__name__=~".+"})', "demo_requests_total", 'sum by (code) (increase(demo_requests_total[5s]))',
    "demo_latency_seconds_bucket", "histogram_quantile(0.9, rate(demo_latency_seconds_bucket[8s]))",
    'rate(prometheus_http_requests_total[7s])', "count by (__name__) ({__name__=~\".+\"})",
    "histogram_count(prometheus_http_request_duration_seconds)", "histogram_sum(prometheus_http_request_duration_seconds)",
    "prometheus_http_request_duration_seconds", "histogram_quantile(0.5, prometheus_http_request_duration_seconds)",
    'sum(rate(prometheus_http_request_duration_seconds[8s]))', "{job=\"target\"}[6s]",
    "prometheus_http_request_duration_seconds[4s]",
]


class Target(http.server.BaseHTTPRequestHandler):
    """Counters with exemplars, and a classic histogram, which grow with each scrape."""

    scrapes = 0

    def do_GET(self):
        Target.scrapes += 1
        count, now = Target.scrapes, time.time()
        is_open = "openmetrics" in self.headers.get("Accept", "")
        family = "demo_requests" if is_open else "demo_requests_total"
        exemplar = f' # {{trace_id="t{count}"}} 0.3 {now:.3f}' if is_open else ""
        lines = [f"# HELP {family} Requests that came.", f"# TYPE {family} counter"]
        lines += [f'demo_requests_total{{code="{code}"}} {count * code}{exemplar}' for code in (200, 500)]
        lines += ["# HELP demo_latency_seconds How long.", "# TYPE demo_latency_seconds histogram"]
        lines += [f'demo_latency_seconds_bucket{{le="{le}"}} {count * (at + 1)}{exemplar}'
                  for at, le in enumerate(("0.1", "0.5", "+Inf"))]
        lines += [f"demo_latency_seconds_sum {count * 0.7:.1f}", f"demo_latency_seconds_count {count * 3}"]
        lines += ["# TYPE demo_temperature gauge", f"demo_temperature {count % 7}.25"] + (["# EOF"] if is_open else [])
        kind = "application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version=0.0.4"
        answer(self, 200, {"Content-Type": f"{kind}; charset=utf-8"}, ("\n".join(lines) + "\n").encode())

    def log_message(self, *_):
        pass


class Relay(http.server.BaseHTTPRequestHandler):
    """Hands writes on to cumae, and notes what they are and what becomes of them."""

    protocol_version = "HTTP/1.1"
    noted, bodies, cumae, lock = collections.Counter(), {}, None, threading.Lock()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        to = http.client.HTTPConnection("127.0.0.1", Relay.cumae.port, timeout=20)
        to.request("POST", self.path, body, {k: v for k, v in self.headers.items() if k != "Host"})
        got = to.getresponse()
        text, headers = got.read(), {k: v for k, v in got.getheaders() if k.lower() not in ("content-length", "connection")}
        tenant = self.headers.get("X-Scope-OrgID")
        key = (tenant, self.headers.get("Content-Type", ""), self.headers.get("Content-Encoding", ""), got.status,
               "x-prometheus-remote-write-samples-written" in {k.lower() for k in headers})
        with Relay.lock:
            Relay.noted[key] += 1
            Relay.bodies[key] = text
            for k, v in headers.items():
                if k.lower().startswith("x-prometheus-remote-write-"):
                    Relay.noted[(tenant, k.lower().split("-")[4])] += int(v)
        to.close()
        answer(self, got.status, headers, text)

    def log_message(self, *_):
        pass


def answer(handler, status, headers, body):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def vmagent(directory, target, relay):
    """Sends the same twice: in its own protocol, which is zstd, and as Prometheus does."""
    directory.mkdir()
    (directory / "scrape.yml").write_text(VMAGENT.replace("TARGET", target))
    port, url = servers.free_port(), f"-remoteWrite.url=http://{relay}/api/v1/push"
    command = [servers.NEIGHBOURS / "vmagent", f"-promscrape.config={directory / 'scrape.yml'}",
               f"-httpListenAddr=127.0.0.1:{port}", f"-remoteWrite.tmpDataPath={directory / 'queue'}", url, url,
               "-remoteWrite.headers=X-Scope-OrgID:vmagent-zstd", "-remoteWrite.headers=X-Scope-OrgID:vmagent-snappy",
               "-remoteWrite.forceVMProto=true,false", "-remoteWrite.forcePromProto=false,true",
               "-remoteWrite.flushInterval=500ms", "-loggerLevel=WARN"]
    return servers.Server("vmagent", command, port, directory / "vmagent.log", "/health")


class Tenant:
    """A cumae as one of its tenants sees it."""

    def __init__(self, server, tenant):
        self.server, self.name, self.tenant = server, f"cumae as {tenant}", tenant

    def request(self, method, path, body=None, headers=None):
        return self.server.request(method, path, body, {**(headers or {}), "X-Scope-OrgID": self.tenant})

    api, query = servers.Server.api, servers.Server.query


class Faults:
    """Prints what was found, and counts what is wrong."""

    found = 0

    def check(self, what, is_right, told=""):
        print(f"{'same   ' if is_right else 'DIFFERS'} {what}{'' if is_right else f': {told}'}", flush=True)
        self.found += not is_right


def ask(faults, prometheus, tenant, moment):
    """The same questions to both, at a moment and over the seconds before it."""
    for query in ASKED:
        asked = [("query", {"query": query, "time": f"{moment:.3f}"})]
        if not query.endswith("]"):
            steps = {"start": f"{moment - 6.3:.3f}", "end": f"{moment:.3f}", "step": "0.7"}
            asked.append(("query_range", {"query": query, **steps}))
        for path, parameters in asked:
            ours, theirs = tenant.api(path, parameters), prometheus.api(path, parameters)
            what = compare_prometheus.difference(ours, theirs) or ("" if compare_prometheus.size(theirs) else "no rows")
            faults.check(f"{compare_prometheus.size(theirs):4} rows  {tenant.tenant} {path} {query}", not what, what)
    times = {"query": '{job="target"}', "start": f"{moment - 6:.3f}", "end": f"{moment:.3f}"}
    ours, theirs = (sorted(map(str, server.api("query_exemplars", times)["data"])) for server in (tenant, prometheus))
    faults.check(f"{len(theirs):4} series with exemplars  {tenant.tenant}", ours == theirs and theirs, f"{ours[:1]}, theirs {theirs[:1]}")


def ask_metadata(faults, tenant):
    """What only 2.0 says of each series, by the names of its families."""
    metadata = tenant.api("metadata", {})["data"]
    for family, kind, text in (("demo_requests_total", "counter", "Requests that came."), ("demo_latency_seconds", "histogram", "How long."),
                               ("demo_temperature", "gauge", ""), ("prometheus_http_requests_total", "counter", "Counter of HTTP requests.")):
        told = metadata.get(family, [{}])[0]
        faults.check(f"metadata of {family}", (told.get("type"), told.get("help")) == (kind, text), told)


def check_noted(faults):
    """Every write was taken as what its sender says it is."""
    v1, v2 = "application/x-protobuf", "application/x-protobuf;proto=io.prometheus.write.v2.Request"
    wanted = {"prometheus-1": (v1, "snappy", False), "prometheus-2": (v2, "snappy", True),
              "vmagent-zstd": (v1, "zstd", False), "vmagent-snappy": (v1, "snappy", False)}
    for tenant, (kind, encoding, has_counts) in wanted.items():
        noted = {key: count for key, count in Relay.noted.items() if key[0] == tenant and len(key) > 2}
        good = [key for key in noted if key[3] in (200, 204) and key[4] == has_counts
                and key[1].startswith(kind) and (kind == v2 or "write.v2" not in key[1]) and key[2] == encoding]
        faults.check(f"{sum(noted.values()):4} writes of {tenant}, {encoding}", len(noted) == len(good) == 1,
                     {key: (count, Relay.bodies[key][:300]) for key, count in noted.items()})
    written = [Relay.noted[("prometheus-2", kind)] for kind in ("samples", "histograms", "exemplars")]
    faults.check(f"told as written to Prometheus: {written}", all(written), written)


def check_counters(faults, prometheus, agent):
    """No sender had to drop or to repeat anything."""
    for kind in ("samples", "histograms", "exemplars", "metadata"):
        for fate in ("failed", "retried", "dropped"):
            name = f"prometheus_remote_storage_{kind}_{fate}_total"
            sum_of = prometheus.query(f"sum({name}) or vector(0)", time.time())[0]["value"][1]
            faults.check(f"{name} is {sum_of}", sum_of == "0", sum_of)
    text = agent.request("GET", "/metrics")[1].decode()
    for name in ("vmagent_remotewrite_packets_dropped_total", "vmagent_remotewrite_retries_count_total", "vmagent_remotewrite_errors_total"):
        values = [line.split()[-1] for line in text.splitlines() if line.startswith(name)]
        faults.check(f"{name} is {values}", set(values) <= {"0"}, values)


def go_sender(faults, cumae, directory):
    """The Go program's own checks, and what it wrote, read back."""
    binary, now_ms = directory / "go_sender", int(time.time() * 1000)
    command = ["go", "build", "-buildvcs=false", "-o", binary, "."]
    subprocess.run(command, cwd=pathlib.Path(__file__).parent / "go_sender", check=True)
    done = subprocess.run([binary, cumae.url, "go", str(now_ms)], capture_output=True, text=True, timeout=60)
    print(done.stdout + done.stderr, end="")
    faults.check("the Go sender's own checks", done.returncode == 0, done.returncode)
    tenant, moment = Tenant(cumae, "go"), now_ms / 1000
    value = lambda query: [row["value"][1] for row in tenant.query(query, moment)]
    for query, wanted in (("go_sender_total", ["3"]), ("count_over_time(go_sender_total[5s])", ["2"]),
                          ("histogram_count(go_sender_integer)", ["9"]), ("histogram_count(go_sender_float)", ["1.5"]),
                          ("histogram_quantile(0.5, go_sender_custom)", ["1"]), ("count(go_sender_partial)", ["3"])):
        faults.check(f"{query} of what Go sent", value(query) == wanted, value(query))
    buckets = tenant.query("go_sender_integer", moment)[0]["histogram"][1]["buckets"]
    wanted = [[1, "-1", "-0.5", "3"], [3, "-0.001", "0.001", "2"], [0, "0.5", "1", "1"], [0, "1", "2", "2"], [0, "4", "8", "1"]]
    faults.check("buckets of what Go sent", buckets == wanted, buckets)
    told = tenant.api("metadata", {})["data"].get("go_sender_total")
    faults.check("metadata of what Go sent", told == [{"type": "counter", "help": "Sent by Go.", "unit": ""}], told)


def count_of(prometheus, query):
    return float(prometheus.query(query, time.time())[0]["value"][1])


def main():
    binary, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    directory, faults = pathlib.Path(tempfile.mkdtemp(prefix="cumae-send-")), Faults()
    cumae = servers.cumae(binary, directory / "cumae", "self_metrics: false\ntenancy: multi\n")
    Relay.cumae = cumae
    target, relay = f"127.0.0.1:{serve(Target)}", f"127.0.0.1:{serve(Relay)}"
    config = CONFIG.replace("TARGET", target).replace("RELAY", relay)
    prometheus = servers.prometheus(directory / "prometheus", config, *FLAGS)
    agent = vmagent(directory / "vmagent", target, relay)
    try:
        go_sender(faults, cumae, directory)
        # 3.5 stretches a histogram's window to before the moment when it was zero, newer ones do not: no window holds the beginning of one.
        own = 'count(prometheus_http_request_duration_seconds{handler=~"/metrics|/api/v1/query"} or vector(0))'
        servers.wait_until("Prometheus to have its own histograms", lambda: count_of(prometheus, own) == 3)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            prometheus.request("GET", "/api/v1/query?query=up")
            time.sleep(0.3)
        moment, _ = compare_prometheus.quiet_moment(prometheus, time.time() - 2)
        count = lambda server: server.query('count({__name__=~".+"}) + sum(sum_over_time(demo_requests_total[6s]))', moment)
        held = count(prometheus)
        for version in (1, 2):
            tenant = Tenant(cumae, f"prometheus-{version}")
            servers.wait_until(f"{tenant.name} to hold {held}", lambda: count(tenant) == held)
            ask(faults, prometheus, tenant, moment)
        ask_metadata(faults, Tenant(cumae, "prometheus-2"))
        of_agent = [Tenant(cumae, f"vmagent-{encoding}") for encoding in ("zstd", "snappy")]
        for query in ("{job=\"target\"}[6s]", "demo_requests_total", "up"):
            zstd, snappy = (tenant.query(query, moment) for tenant in of_agent)
            faults.check(f"{len(zstd):4} rows  vmagent {query}", zstd == snappy and zstd, f"{zstd[:2]}, in snappy {snappy[:2]}")
        check_counters(faults, prometheus, agent)
        check_noted(faults)
    finally:
        # Senders first: they wait for a receiver that is gone.
        for server in (agent, prometheus, cumae):
            server.end()
    faults.check("cumae ended with 0", cumae.process.returncode == 0, cumae.process.returncode)
    if faults.found:
        raise SystemExit(f"send_remote_write: {faults.found} faults; logs are in {directory}")
    shutil.rmtree(directory)
    print("send_remote_write: every sender was understood")


if __name__ == "__main__":
    main()
