#!/usr/bin/env python3
"""A cumae over a Cassandra answers as one over a directory does, to the byte: the same requests are written to both, and each answer of the
HTTP API is compared, before the flush, sealed, and after a delete by processes that have begun again.

    cassandra_same.py CUMAE

CUMAE is built with the feature `cassandra`.
"""

import pathlib
import re
import struct
import sys
import tempfile
import time
import urllib.parse

import cassandra
import questions
import remote_write
import servers
import written
from benches import LIFTED
from remote_write import field, varint

SELECTORS = ["up", '{job="api"}', '{__name__=~"native.*|odd"}', "requests_total"]
# When the process began, and when it was asked.
NOT_THE_DATAS = re.compile(rb'"(statsCollectedSince|lastRequestTimestamp|minTime|maxTime)":\d+')


def beside(end_ms):
    """Metadata, and a series with exemplars."""
    message = b""
    for name, kind, text in (("requests_total", 1, "Requests."), ("memory_bytes", 2, "Memory."), ("latency_seconds", 3, "How long.")):
        message += field(3, b"\x08" + varint(kind) + field(2, name.encode()) + field(4, text.encode()))
    labels = b"".join(field(1, field(1, k) + field(2, v)) for k, v in ((b"__name__", b"traced_total"), (b"job", b"api")))
    exemplars, samples = b"", b""
    for turn in range(20):
        at = varint(end_ms - 600_000 + turn * 15_000)
        value = struct.pack("<d", float(turn))
        samples += field(2, b"\x09" + value + b"\x10" + at)
        exemplars += field(3, field(1, field(1, b"trace_id") + field(2, b"t%d" % turn)) + b"\x11" + value + b"\x18" + at)
    return message + field(1, labels + samples + exemplars)


def asks(end_ms):
    """Path and parameters of each question."""
    end_s, start_s = end_ms / 1000 - 60, end_ms / 1000 - 7200
    window = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}"}
    for family in questions.FAMILIES.values():
        for query in family:
            query = query.replace("AT", f"{end_s - 600:.3f}")
            yield "/api/v1/query", {"query": query, "time": f"{end_s:.3f}"}
            yield "/api/v1/query_range", {"query": query, "start": f"{end_s - 1309:.3f}", "end": f"{end_s:.3f}", "step": 17}
    for selector in SELECTORS:
        yield "/api/v1/series", {"match[]": selector, **window}
        yield "/api/v1/labels", {"match[]": selector, **window}
        yield "/api/v1/label/instance/values", {"match[]": selector, **window}
        yield "/api/v1/export", {"match[]": selector, **window}
        yield "/federate", {"match[]": selector}
        yield "/api/v1/cardinality/active_series", {"selector": selector}
        yield "/api/v1/cardinality/label_values", {"label_names[]": "job", "selector": selector}
    for path in ("labels", "label/__name__/values", "metadata", "cardinality/label_names", "status/tsdb", "series/count",
                 "status/metric_names_stats", "rules", "alerts", "targets/metadata"):
        yield f"/api/v1/{path}", {}
    yield "/api/v1/metadata", {"metric": "memory_bytes"}
    yield "/api/v1/query_exemplars", {"query": "traced_total", **window}
    yield "/api/v1/series", window
    yield "/api/v1/format_query", {"query": "sum by(a)(rate(x[5m]))"}
    yield "/api/v1/query", {"query": "sum(", "time": f"{end_s:.3f}"}


def without(body):
    """The body, without what is not the data's."""
    return NOT_THE_DATAS.sub(b"", body)


def compare(when, over, plain, end_ms):
    """How many answers differ."""
    differs, count, size = 0, 0, 0
    for path, parameters in asks(end_ms):
        url = f"{path}?{urllib.parse.urlencode(parameters)}"
        (status, body), wanted = over.request("GET", url), plain.request("GET", url)
        count, size = count + 1, size + len(wanted[1])
        if (status, without(body)) != (wanted[0], without(wanted[1])):
            differs += 1
            print(f"DIFFERS {when}: {path} {parameters}\n  over Cassandra {status} {body[:300]!r}\n  over a directory {wanted[0]} {wanted[1][:300]!r}")
    if size < 1000 * count:
        raise SystemExit(f"FAILED: {size} bytes in {count} answers: nothing was asked")
    print(f"{when}: {count - differs} of {count} answers are the same, {size:,} bytes", flush=True)
    return differs


def both(servers_of, method, path):
    for server in servers_of:
        status, body = server.request(method, path, b"", timeout=300)
        if status not in (200, 204):
            raise SystemExit(f"FAILED: {server.name}: {path}: {status} {body[:300]!r}")


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    end_ms = int(time.time() // 60) * 60_000
    with tempfile.TemporaryDirectory(prefix="cumae-same-", ignore_cleanup_errors=True) as name:
        directory = pathlib.Path(name)
        node = cassandra.Node(name, 1)
        over = plain = None
        try:
            over, plain = cassandra.over(binary, node, directory / "over", "same", LIFTED), servers.cumae(binary, directory / "plain", LIFTED)
            sent = written.write(over, plain, end_ms)
            for server in (over, plain):
                remote_write.push(server, "/api/v1/push", beside(end_ms))
            print(f"{sent:,} samples are written to both")
            differs = compare("in memory", over, plain, end_ms)
            both((over, plain), "POST", "/ingester/flush?seal=true")
            differs += compare("sealed", over, plain, end_ms)
            gone = urllib.parse.urlencode({"match[]": 'requests_total{code="404"}', "end": f"{end_ms / 1000 - 900:.3f}"})
            both((over, plain), "POST", f"/api/v1/admin/tsdb/delete_series?{gone}")
            over.end(), plain.end()
            over = servers.cumae(binary, directory / "over", (directory / "over" / "cumae.yaml").read_text())
            plain = servers.cumae(binary, directory / "plain", LIFTED)
            differs += compare("after a delete, begun again", over, plain, end_ms)
        finally:
            for server in (over, plain):
                if server:
                    server.end()
            node.stop()
    if differs:
        raise SystemExit(f"FAILED: {differs} answers differ")


if __name__ == "__main__":
    main()
