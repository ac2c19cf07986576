#!/usr/bin/env python3
"""Gives the cases of guard/src/relabel/cases.txt to a real Prometheus as write_relabel_configs, and to cumae as
metric_relabel_configs, and compares what arrives with what the cases say.

Each block of rules is a remote_write of its own of one Prometheus, and a tenant of its own of one cumae. Each series has
its own value, so what arrives tells which series it was.

    relabel.py CUMAE_BINARY
"""

import http.server
import json
import pathlib
import struct
import sys
import tempfile
import threading
import time

import remote_write
import servers

CASES = servers.ROOT / "guard" / "src" / "relabel" / "cases.txt"
KEYS = {"source": "source_labels", "separator": "separator", "target": "target_label", "regex": "regex",
        "modulus": "modulus", "replacement": "replacement", "action": "action"}


def quoted(text):
    """A text in quotes, and what follows it."""
    value, at = "", 1
    while text[at] != '"':
        if text[at] == "\\":
            at += 1
            value += {"n": "\n"}.get(text[at], text[at])
        else:
            value += text[at]
        at += 1
    return value, text[at + 1:]


def pairs(text):
    found = []
    text = text.strip()
    while text:
        if text.startswith('"'):
            key, text = quoted(text)
            text = text[1:]
        else:
            key, text = text.split("=", 1)
        if text.startswith('"'):
            value, text = quoted(text)
        else:
            value, _, text = text.partition(" ")
        found.append((key, value))
        text = text.lstrip()
    return found


def rule(text):
    keys = {KEYS[key]: value for key, value in pairs(text)}
    if "source_labels" in keys:
        keys["source_labels"] = keys["source_labels"].split(",")
    if "modulus" in keys:
        keys["modulus"] = int(keys["modulus"])
    return keys


def blocks():
    """(rules, [(line, labels, labels afterwards or None)]) one after the other."""
    found, collecting = [], False
    for number, line in enumerate(CASES.read_text().splitlines(), 1):
        word, _, rest = line.partition(" ")
        if word == "rule":
            if not collecting:
                found.append(([], []))
            collecting = True
            found[-1][0].append(rule(rest))
        elif word == "in":
            collecting, labels = False, dict(pairs(rest))
        elif word == "out":
            found[-1][1].append((number, labels, dict(pairs(rest))))
        elif word == "dropped":
            found[-1][1].append((number, labels, None))
    return found


def fields(message):
    """(number, value) of a message: numbers, eight bytes, or bytes."""
    at = 0

    def varint():
        nonlocal at
        number, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 1:
            yield key >> 3, message[at:at + 8]
            at += 8
        else:
            size = varint()
            yield key >> 3, message[at:at + size]
            at += size


def series_of(body):
    """(labels, value of the last sample) of each series of a remote-write request."""
    for number, series in fields(remote_write.unpacked(body)):
        if number != 1:
            continue
        labels, value = {}, None
        for part, content in fields(series):
            if part == 1:
                pair = dict(fields(content))
                labels[pair[1].decode()] = pair.get(2, b"").decode()
            elif part == 2:
                value = struct.unpack("<d", dict(fields(content)).get(1, bytes(8)))[0]
        yield labels, value


class Receiver:
    """Keeps what each of Prometheus' remote_writes sends: by its number, the labels by value."""

    def __init__(self):
        arrived = self.arrived = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for labels, value in series_of(body):
                    if value is not None:
                        arrived.setdefault(int(self.path.strip("/")), {})[value] = labels
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def requests_of(values):
    """One request with all series, each with its value now."""
    now = int(time.time() * 1000)
    return b"".join(remote_write.series(dict(labels), [(now, value)]) for labels, value in values.items())


def of_prometheus(cases, values, directory):
    receiver = Receiver()
    writes = [{"url": f"http://127.0.0.1:{receiver.port}/{number}", "write_relabel_configs": rules,
               "queue_config": {"batch_send_deadline": "100ms", "max_shards": 1}, "send_exemplars": False,
               "metadata_config": {"send": False}}
              for number, (rules, _) in enumerate(cases)]
    # A queue without rules tells when everything has been sent.
    writes.append({"url": f"http://127.0.0.1:{receiver.port}/{len(cases)}",
                   "queue_config": {"batch_send_deadline": "100ms", "max_shards": 1}, "metadata_config": {"send": False}})
    config = json.dumps({"remote_write": writes})
    prometheus = servers.prometheus(directory, config)
    try:
        def wanted():
            return all(values[frozenset(labels.items())] in receiver.arrived.get(number, {})
                       for number, (_, of) in enumerate(cases) for _, labels, after in of if after is not None)

        # A queue sends nothing from before its own start, and 56 of them start one after the other: once is not enough.
        deadline = time.monotonic() + 60
        while True:
            remote_write.push(prometheus, "/api/v1/write", requests_of(values))
            again = time.monotonic() + 3
            while not (done := wanted() and len(receiver.arrived.get(len(cases), {})) == len(values)) and time.monotonic() < again:
                time.sleep(0.1)
            if done:
                break
            if time.monotonic() > deadline:
                raise SystemExit("FAILED: Prometheus did not send every series within 60 s")
        # What should be dropped has time to arrive.
        time.sleep(2)
    finally:
        prometheus.end()
    return receiver.arrived


def of_cumae(binary, cases, directory):
    """What becomes of each case in a tenant of its own; `None` if nothing arrives."""
    overrides = {f"t{number}": {"metric_relabel_configs": rules} for number, (rules, _) in enumerate(cases)}
    config = json.dumps({"self_metrics": False, "tenancy": "multi", "overrides": overrides})
    cumae = servers.cumae(binary, directory, config)
    arrived = []
    try:
        for number, (_, labels) in enumerate(cases):
            tenant = {"X-Scope-OrgID": f"t{number}"}
            message = remote_write.snappy(requests_of({frozenset(labels.items()): 1.0}))
            status, body = cumae.request("POST", "/api/v1/push", message, {**remote_write.HEADERS, **tenant})
            if status not in (202, 204):
                raise SystemExit(f"FAILED: cumae: {status} {body!r}")
            status, body = cumae.request("GET", "/api/v1/query?query=%7B__name__%21%3D%22%22%7D", headers=tenant)
            result = json.loads(body)["data"]["result"]
            arrived.append(result[0]["metric"] if result else None)
    finally:
        cumae.end()
    return arrived


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    cases = blocks()
    values = {}
    for _, of in cases:
        for _, labels, _ in of:
            values.setdefault(frozenset(labels.items()), float(len(values) + 1))
    with tempfile.TemporaryDirectory(prefix="relabel-") as directory:
        directory = pathlib.Path(directory)
        prometheus = of_prometheus(cases, values, directory / "prometheus")
        wrong, checked = [], 0
        for number, (rules, of) in enumerate(cases):
            for line, labels, after in of:
                checked += 1
                have = prometheus.get(number, {}).get(values[frozenset(labels.items())])
                if have != after:
                    wrong.append(f"line {line}: {rules}: {labels}: Prometheus {have}, the case {after}")
        single = [(rules, line, labels, after) for rules, of in cases for line, labels, after in of]
        ours = of_cumae(binary, [(rules, labels) for rules, _, labels, _ in single], directory / "cumae")
        for (rules, line, labels, after), have in zip(single, ours):
            if have != after:
                wrong.append(f"line {line}: {rules}: {labels}: cumae {have}, the case {after}")
    if wrong:
        raise SystemExit("FAILED:\n" + "\n".join(wrong))
    if checked < 60:
        raise SystemExit(f"FAILED: only {checked} cases")
    print(f"relabel: {checked} cases in {len(cases)} blocks of rules, the same from Prometheus and from cumae")


if __name__ == "__main__":
    main()
