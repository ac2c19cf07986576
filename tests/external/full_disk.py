#!/usr/bin/env python3
"""Fills a small file system under a running cumae, and looks at who is still served.

- With less than the reserve free writes get 503 with Retry-After, reads go on, the process stays up.
- With no byte free at all likewise.
- Within 10 s of space writes are taken again, and after a kill -9 every sample that was acknowledged is there.

    full_disk.py CUMAE_BINARY

Needs root, to mount a tmpfs of 64 MiB.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import servers
from fdatasync_fails import body

MOUNT_BYTES = 64 << 20
RESUMES_WITHIN_S = 10


def mount(directory):
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "tmpfs", directory],
                          capture_output=True, text=True)
    if made.returncode != 0:
        raise SystemExit(f"FAILED: cannot mount a tmpfs, which needs root: {made.stderr.strip()}")


def free_bytes(directory):
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize


def fill(directory, leave):
    """Takes all space but `leave` bytes."""
    path = pathlib.Path(directory) / "ballast"
    with path.open("ab") as ballast:
        while (left := free_bytes(directory) - leave) > 0:
            try:
                ballast.write(b"\0" * min(left, 1 << 20))
                ballast.flush()
            except OSError:
                break
    return path


def push(server, value, time_ms):
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    return server.request("POST", "/api/v1/push", body(value, time_ms), headers)[0]


def expect(holds, what):
    print(f"{'ok' if holds else 'FAILED'}: {what}")
    if not holds:
        raise SystemExit(1)


def kept(server, moment):
    return {int(row["metric"]["n"]) for row in server.query("kept", moment)}


def check(binary, directory, leave, label):
    time_ms = int(time.time() * 1000) - 60_000
    moment = time_ms / 1000
    server = servers.cumae(binary, directory)
    try:
        acknowledged = {value for value in range(10) if push(server, value, time_ms) in (200, 204)}
        expect(len(acknowledged) == 10, f"{label}: writes are taken before")
        ballast = fill(directory, leave)
        servers.wait_until("a refusal", lambda: push(server, 10, time_ms) == 503, 10)
        refused = [push(server, value, time_ms) for value in range(10, 20)]
        expect(set(refused) == {503}, f"{label}: writes get 503")
        expect(acknowledged <= kept(server, moment), f"{label}: reads go on")
        ballast.unlink()
        began = time.monotonic()
        servers.wait_until("writes to be taken again", lambda: push(server, 20, time_ms) in (200, 204),
                           RESUMES_WITHIN_S)
        print(f"ok: {label}: writes are taken again after {time.monotonic() - began:.1f} s")
        acknowledged.add(20)
        server.process.kill()
        server.process.wait(60)
        server = servers.cumae(binary, directory)
        expect(acknowledged <= kept(server, moment), f"{label}: all that was acknowledged is there")
        verified = subprocess.run([binary, "store", "verify", f"{directory}/data"], capture_output=True, text=True)
        expect(verified.returncode == 0, f"{label}: verify beside the server: {verified.stdout.strip()}")
    finally:
        server.process.kill()
        server.process.wait(60)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    for leave, label in [(2 << 20, "less than the reserve"), (0, "no byte")]:
        with tempfile.TemporaryDirectory() as directory:
            mount(directory)
            try:
                check(binary, directory, leave, label)
            finally:
                subprocess.run(["umount", directory], check=True)


if __name__ == "__main__":
    main()
