#!/usr/bin/env python3
"""Lets a Prometheus without data read ours by remote_read, and compares its answers with those of one that has the data itself.

Two readers: one takes the chunks that it asks for, the other goes through a door here that takes the wish for chunks out of
its requests, and so gets samples. Each is asked every query of promql-compliance, and the questions of every family about
written data (`written.py`, `questions.py`): native histograms, stale markers, names with dots. What Prometheus 3.5 fails at,
whoever answers it, is not asked: `info()`; of samples, windows of native histograms, and custom buckets.

    compare_remote_read.py CUMAE_BINARY
"""

import http.client
import http.server
import json
import re
import shutil
import sys
import tempfile
import threading
import time
import urllib.request

import questions
import remote_write
import servers
import written
from compare_prometheus import FLAGS_WRITTEN, difference

COMPLIANCE = servers.ROOT.parent / "shared" / "promql-compliance"
START_S, END_S, STEP_S = 1_699_999_800, 1_700_000_400, 30
CONFIG = "global: {scrape_interval: 5s, evaluation_interval: 1m}\n"
READER = CONFIG + "remote_read: [{url: 'http://127.0.0.1:PORT/api/v1/read', read_recent: true}]\n"
CUMAE = "self_metrics: false\n"


def without_types(message):
    """A ReadRequest without its second field."""
    out, at = b"", 0
    while at < len(message):
        begin, key, at = at, message[at], at + 1
        if key == 0x10:
            at += 1
            continue
        length, at = remote_write.read_varint(message, at)
        at += length
        out += message[begin:at] if key == 0x0A else b""
    return out


class Door(http.server.BaseHTTPRequestHandler):
    """Passes remote read on, without the wish for chunks."""

    target, passed = "", 0
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = urllib.request.Request(
            Door.target + self.path, data=remote_write.snappy(without_types(remote_write.unpacked(body))), method="POST",
            headers={"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            kind, packed = answer.headers["Content-Type"], answer.read()
        assert kind == "application/x-protobuf", kind
        Door.passed += 1
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Encoding", "snappy")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)

    def log_message(self, *_):
        pass


def write_compliance(cumae, prometheus):
    """Sends the data of promql-compliance to both, five minutes at a time."""
    every = []
    for line in (COMPLIANCE / "data.jsonl").read_text().splitlines():
        of = json.loads(line)
        offsets = of.get("offsets_ms") or [of["step_ms"] * k for k in range(len(of["values"]))]
        value = lambda v: remote_write.STALE if v == "stale" else float(v)
        every.append((of["metric"], [(of["start_ms"] + o, value(v)) for o, v in zip(offsets, of["values"])]))
    times = [t for _, samples in every for t, _ in samples]
    for begin in range(min(times), max(times) + 1, 300_000):
        message = b""
        for labels, samples in every:
            part = [(t, v) for t, v in samples if begin <= t < begin + 300_000]
            message += remote_write.series(labels, samples=part) if part else b""
        remote_write.push(prometheus, "/api/v1/write", message)
        remote_write.push(cumae, "/api/v1/push", message)
    return len(times)


def compliance_queries():
    text = (COMPLIANCE / "queries.yml").read_text()
    quoted = re.findall(r"^  - query: '((?:[^']|'')*)'$", text, re.M)
    assert len(quoted) == text.count("- query:"), "queries in a form that is not known"
    return [query.replace("''", "'") for query in quoted]


def same(ours, theirs, is_ordered=False):
    """What is different in two answers, annotations and the texts of errors included; empty if nothing is."""
    if "error" in theirs and ours.get("error") == theirs["error"]:
        return ""
    what = difference(ours, theirs, is_ordered)
    for key in ("warnings", "infos"):
        told = sorted(ours.get(key, [])), sorted(theirs.get(key, []))
        if not what and told[0] != told[1]:
            what = f"{key}: ours {told[0]}, theirs {told[1]}"
    return what


def breaks(query, form):
    """Whether Prometheus 3.5 fails at it whoever is read from, another Prometheus too."""
    return "info(" in query or form == "samples" and ("custom_" in query or "native_" in query and "[" in query)


def ask(name, readers, own, asked):
    """Asks all of it, and returns how many answers differ."""
    failed = agree = rows = refused = skipped = 0
    for path, parameters in asked:
        theirs = own.api(path, parameters)
        refused += "error" in theirs
        result = theirs.get("data", {}).get("result", [])
        rows += len(result) if isinstance(result, list) else 1
        for form, reader in readers.items():
            if breaks(parameters["query"], form):
                skipped += 1
                continue
            try:
                what = same(reader.api(path, parameters), theirs)
            except (OSError, http.client.HTTPException) as error:
                what = f"the reader broke off: {error}"
            agree += not what
            if what:
                failed += 1
                print(f"DIFFERS {name} {form} {path} {parameters['query']}\n        {what}"[:1200])
    print(f"compare_remote_read: {name}: {agree} of {len(asked) * len(readers) - skipped} answers are the same as from its own "
          f"storage ({rows} rows, {refused} refused by both, {skipped} not asked)")
    return failed


def compare(name, binary, directory, fill, questions_of):
    cumae = servers.cumae(binary, f"{directory}/{name}-cumae", CUMAE)
    started = [cumae]
    door = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    try:
        flags = [*FLAGS_WRITTEN]
        own = servers.prometheus(f"{directory}/{name}-own", CONFIG, *flags)
        started.append(own)
        sent, asked = fill(cumae, own), None
        Door.target, Door.passed = cumae.url, 0
        readers = {}
        for form, port in (("chunks", cumae.port), ("samples", door.server_port)):
            config = READER.replace("PORT", str(port))
            readers[form] = servers.prometheus(f"{directory}/{name}-{form}", config, *flags)
            started.append(readers[form])
        asked = questions_of(sent)
        failed = ask(name, readers, own, asked)
        if not Door.passed:
            print("DIFFERS nothing was read as samples")
            failed += 1
        return failed
    finally:
        door.shutdown()
        for server in reversed(started):
            server.end()


def of_compliance(_):
    steps = {"start": START_S, "end": END_S, "step": STEP_S}
    queries = compliance_queries()
    return [("query_range", {"query": query, **steps}) for query in queries] + [
        ("query", {"query": query, "time": END_S}) for query in queries]


def s10_a_prometheus_gives_the_same_json_whether_it_reads_its_own_storage_or_with_read_recent_true_ours_by_remote_read_both_response_types():
    binary, directory = sys.argv[1], tempfile.mkdtemp(prefix="cumae-remote-read-")
    end_ms = int(time.time()) // 60 * 60_000 - 60_000
    moment = end_ms / 1000 - 200 + 0.95

    def of_families(_):
        asked = []
        for queries in questions.FAMILIES.values():
            for query in (query.replace("AT", f"{moment - 600:.3f}") for query in queries):
                asked.append(("query", {"query": query, "time": f"{moment:.3f}"}))
                if not query.startswith("sort"):
                    steps = {"start": f"{moment - 1309:.3f}", "end": f"{moment:.3f}", "step": "17"}
                    asked.append(("query_range", {"query": query, **steps}))
        return asked

    failed = compare("compliance", binary, directory, write_compliance, of_compliance)
    failed += compare("written", binary, directory, lambda cumae, own: written.write(cumae, own, end_ms), of_families)
    if failed:
        print(f"logs are in {directory}")
        raise SystemExit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    s10_a_prometheus_gives_the_same_json_whether_it_reads_its_own_storage_or_with_read_recent_true_ours_by_remote_read_both_response_types()
