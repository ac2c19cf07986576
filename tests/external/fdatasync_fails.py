#!/usr/bin/env python3
"""Breaks fdatasync under a running cumae, with strace, and looks at what is acknowledged.

- From the n-th on every fdatasync fails: never a 2xx again, reads go on.
- Exactly one fails: its group gets 503, and the next 2xx comes from a new segment of the commit log. After a kill -9
  every sample that was acknowledged is there.

    fdatasync_fails.py CUMAE_BINARY
"""

import pathlib
import struct
import sys
import tempfile
import time

import servers


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def body(value, time_ms):
    """Remote write 1.0 of one sample; snappy as one literal."""
    labels = b"".join(field(1, field(1, name) + field(2, text)) for name, text in
                      [(b"__name__", b"kept"), (b"n", str(value).encode())])
    sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms)
    message = field(1, labels + field(2, sample))
    assert len(message) <= 60
    return varint(len(message)) + bytes([len(message) - 1 << 2]) + message


def push(server, value, time_ms):
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    return server.request("POST", "/api/v1/push", body(value, time_ms), headers)[0]


def strace(when, log):
    return ["strace", "-f", "-qq", "-o", log, "-e", "trace=fdatasync",
            "-e", f"inject=fdatasync:error=EIO:when={when}"]


def segments(directory):
    """The files that a commit log is made of: those that grow by being written to, under the data directory."""
    return sorted(str(path) for path in pathlib.Path(directory).rglob("*") if path.is_file())


def traced_child(server):
    """The traced process: strace itself is its parent."""
    children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return int(children[0])


def kept(server, moment):
    return {int(row["metric"]["n"]) for row in server.query("kept", moment)}


def kill_traced(server):
    import os, signal
    os.kill(traced_child(server), signal.SIGKILL)
    server.process.wait(60)


def check(directory, binary, when, label):
    """Writes while fdatasync fails as `when` says, kills the process, starts it again whole."""
    time_ms = int(time.time() * 1000) - 60_000
    server = servers.cumae(binary, directory, wrapper=strace(when, f"{directory}.strace"))
    data = f"{directory}/data"
    statuses, changed = [], []
    for value in range(60):
        before = segments(data)
        statuses.append(push(server, value, time_ms))
        changed.append(segments(data) != before)
    readable = kept(server, time_ms / 1000 + 1)
    kill_traced(server)
    again = servers.cumae(binary, directory)
    there = kept(again, time_ms / 1000 + 1)
    again.end()
    acknowledged = {value for value, status in enumerate(statuses) if status == 204}
    print(f"{label}: {statuses.count(204)} acknowledged, {statuses.count(503)} refused with 503, "
          f"{len(there)} there after kill -9")
    if acknowledged - there:
        raise SystemExit(f"FAILED: acknowledged and lost: {sorted(acknowledged - there)}")
    if acknowledged - readable:
        raise SystemExit(f"FAILED: acknowledged and not readable: {sorted(acknowledged - readable)}")
    if set(statuses) - {204, 503}:
        raise SystemExit(f"FAILED: other answers: {statuses}")
    return statuses, changed


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="cumae-fdatasync-") as directory:
        for first in (30, 47):
            statuses, _ = check(f"{directory}/from-{first}", binary, f"{first}+", f"from the {first}th on")
            refused = statuses.index(503) if 503 in statuses else None
            if refused is None or 204 in statuses[refused:] or 204 not in statuses:
                raise SystemExit(f"FAILED: a 2xx after a failed fdatasync, or none failed: {statuses}")
        statuses, changed = check(f"{directory}/once", binary, "30", "exactly the 30th")
        if statuses.count(503) != 1:
            raise SystemExit(f"FAILED: one group fails, not {statuses.count(503)}: {statuses}")
        refused = statuses.index(503)
        if 204 not in statuses[refused + 1:]:
            raise SystemExit("FAILED: nothing is accepted after one failed fdatasync")
        upto = refused + statuses[refused:].index(204)
        if not any(changed[refused:upto + 1]):
            raise SystemExit("FAILED: the next 2xx did not come from a new segment")
    print("fdatasync_fails: nothing was acknowledged that is not on disk")


if __name__ == "__main__":
    main()
