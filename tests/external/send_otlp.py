#!/usr/bin/env python3
"""Lets real clients write to a cumae by OTLP and InfluxDB's line protocol, and asks what was stored.

OTLP protobuf in gzip by Python's exporter, JSON by that for JavaScript; both send the same metrics, so that cumae has to
say the same of either. Line protocol by influxdb-client. What is exported is imported into a second tenant, which has to
have the same. The packages are installed below .cache.

    send_otlp.py CUMAE_BINARY
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

import servers

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = ["opentelemetry-exporter-otlp-proto-http==1.37.0", "opentelemetry-sdk==1.37.0", "influxdb-client==1.49.0"]
NPM = ["@opentelemetry/api@1.9.0", "@opentelemetry/exporter-metrics-otlp-http@0.205.0",
       "@opentelemetry/resources@2.1.0", "@opentelemetry/sdk-metrics@2.1.0"]
TENANTS = "tenancy: multi\nself_metrics: false\n"


def python():
    """A python that has the packages."""
    directory = servers.ROOT / ".cache" / "otlp-python"
    wanted, known = "\n".join(PYTHON), directory / "wanted"
    if not known.exists() or known.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        run([sys.executable, "-m", "venv", directory], 300)
        run([directory / "bin" / "pip", "install", "--quiet", *PYTHON], 600)
        known.write_text(wanted)
    return directory / "bin" / "python"


def javascript():
    """A directory with the packages and the sender."""
    directory = servers.ROOT / ".cache" / "otlp-javascript"
    wanted, known = "\n".join(NPM), directory / "wanted"
    if not known.exists() or known.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", directory, *NPM], 600)
        known.write_text(wanted)
    shutil.copy(HERE / "send_otlp.mjs", directory / "send_otlp.mjs")
    return directory


def run(command, seconds, env=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds, env=env)
    if done.returncode:
        raise SystemExit(f"FAILED: {command}: {done.stdout[-2000:]}{done.stderr[-4000:]}")


def ask(cumae, tenant, query):
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    status, body = cumae.request("GET", path, headers={"X-Scope-OrgID": tenant})
    answer = json.loads(body)
    if answer["status"] != "success":
        raise SystemExit(f"FAILED: {query}: {status} {answer}")
    return answer["data"]["result"]


def expect(cumae, tenant, query, labels, value):
    result = ask(cumae, tenant, query)
    have = [(series["metric"], series["value"][1]) for series in result if "value" in series]
    if have != [(labels, value)]:
        raise SystemExit(f"FAILED: {tenant}: {query}: {result}, wanted {labels} {value}")


def relay(cumae, tenant):
    """Clients cannot all be told a header: a tenant of its own is a path of its own at a small relay."""
    import http.server
    import threading

    class Relay(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            headers = {"X-Scope-OrgID": tenant}
            for name in ("Content-Type", "Content-Encoding"):
                if self.headers.get(name):
                    headers[name] = self.headers[name]
            seen.append((self.path, headers.get("Content-Type"), headers.get("Content-Encoding")))
            status, answer = cumae.request(self.command, self.path, body or None, headers)
            self.send_response(status)
            self.send_header("X-Influxdb-Version", "relay")
            if status != 204:
                self.send_header("Content-Type", headers.get("Content-Type", "text/plain"))
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_HEAD = forward

        def log_message(self, *_):
            pass

    seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}", seen


def otlp(cumae, tenant, send, content_type):
    server, url, seen = relay(cumae, tenant)
    send(f"{url}/otlp/v1/metrics")
    server.shutdown()
    if not seen or any(kind.split(";")[0] != content_type for _, kind, _ in seen):
        raise SystemExit(f"FAILED: {tenant} sent {seen}")
    target = {"instance": "a1", "job": f"{tenant}/shop"}
    named = lambda name, **more: {"__name__": name, **target, **more}
    expect(cumae, tenant, "http_requests_total", named("http_requests_total", http_method="GET"), "7")
    expect(cumae, tenant, "queue_length", named("queue_length"), "-3")
    expect(cumae, tenant, "cpu_utilization_ratio", named("cpu_utilization_ratio", core="0"), "0.25")
    for le, count in (("0.1", "1"), ("1", "2"), ("+Inf", "3")):
        expect(cumae, tenant, f'latency_seconds_bucket{{le="{le}"}}', named("latency_seconds_bucket", le=le), count)
    expect(cumae, tenant, "latency_seconds_sum", named("latency_seconds_sum"), "5.55")
    expect(cumae, tenant, "histogram_count(native_latency_seconds)", target, "3")
    expect(cumae, tenant, "histogram_sum(native_latency_seconds)", target, "5")
    expect(cumae, tenant, "histogram_fraction(0, 1, native_latency_seconds) > bool 0.3", target, "1")
    info = ask(cumae, tenant, "target_info")
    if len(info) != 1 or info[0]["metric"].get("host_name") != "h1":
        raise SystemExit(f"FAILED: {tenant}: target_info: {info}")
    print(f"otlp: {tenant} sent {len(seen)} requests as {content_type}, {seen[0][2] or 'not compressed'}; all of it is there")


def influx(cumae, interpreter):
    server, url, seen = relay(cumae, "influx")
    run([interpreter, HERE / "send_influx.py", url, time.time_ns()], 120)
    server.shutdown()
    cpu = {"host": "a b", "db": "metrics"}
    expect(cumae, "influx", "cpu_usage", {"__name__": "cpu_usage", **cpu}, "1.5")
    expect(cumae, "influx", "cpu_up", {"__name__": "cpu_up", **cpu}, "1")
    expect(cumae, "influx", "cpu_cores", {"__name__": "cpu_cores", **cpu}, "4")
    expect(cumae, "influx", "count(mem_free)", {}, "1000")
    expect(cumae, "influx", "sum(mem_free)", {}, "499500")
    expect(cumae, "influx", "good_f", {"__name__": "good_f", "db": "metrics"}, "1")
    print(f"influx: {len(seen)} requests; all of it is there, and the bad line was named")


def round_trip(cumae):
    path = "/api/v1/export?" + urllib.parse.urlencode({"match[]": '{__name__!=""}'})
    status, lines = cumae.request("GET", path, headers={"X-Scope-OrgID": "influx"})
    done, answer = cumae.request("POST", "/api/v1/import", lines, {"X-Scope-OrgID": "copy"})
    again = cumae.request("GET", path, headers={"X-Scope-OrgID": "copy"})[1]
    count = lines.count(b"\n")
    if status != 200 or done != 204 or lines != again or count != 1004:
        raise SystemExit(f"FAILED: export {status}, {count} lines; import {done} {answer!r}; same: {lines == again}")
    print(f"export: {count} lines imported again are the same lines")


def main():
    binary = sys.argv[1]
    interpreter, directory = python(), javascript()
    with tempfile.TemporaryDirectory() as temporary:
        cumae = servers.cumae(binary, pathlib.Path(temporary) / "cumae", TENANTS)
        try:
            otlp(cumae, "python", lambda url: run([interpreter, HERE / "send_otlp_python.py", url], 120),
                 "application/x-protobuf")
            otlp(cumae, "js", lambda url: run(["node", directory / "send_otlp.mjs", url], 120), "application/json")
            influx(cumae, interpreter)
            round_trip(cumae)
        finally:
            cumae.end()


if __name__ == "__main__":
    main()
