#!/usr/bin/env python3
"""Fills a small file system under a running cumae, and looks at who is still served.

- With less than the reserve free writes get 503 with Retry-After, reads go on, the process stays up.
- With no byte free at all likewise.
- Within 10 s of space writes are taken again, and after a kill -9 every sample that was acknowledged is there.
- A window that expires meanwhile is unlinked, which gives the space back: writes are taken again by themselves.

    full_disk.py CUMAE_BINARY

Needs root, to mount a tmpfs of 64 MiB.
"""

import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time

import remote_write
import servers
from fdatasync_fails import body

MOUNT_BYTES = 64 << 20
RESUMES_WITHIN_S = 10
DAY_S, HOUR_S = 86_400, 3_600
# Of random bits: what is on the disk is about 8 bytes a sample.
OLD_SAMPLES, OLD_REQUESTS = 20_000, 60
# From the start with the short retention until the old window goes.
EXPIRES_AFTER_S = 45


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


def old_body(number, first_ms):
    """One series, a sample each millisecond."""
    # An exponent that no NaN and no infinity has.
    values = (struct.unpack("<d", os.urandom(7) + b"\x3f")[0] for _ in range(OLD_SAMPLES))
    labels = {"__name__": "old", "n": str(number)}
    return remote_write.snappy(remote_write.series(labels, zip(range(first_ms, first_ms + OLD_SAMPLES), values)))


def metric(server, name):
    text = server.request("GET", "/metrics")[1].decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def sstables(directory):
    return {path.name for path in pathlib.Path(directory, "data").glob("**/sstables/*")}


def check_expiry(binary, directory, leave, label):
    """Old data in a window of its own, kept for ever; then a retention that lets it go in a moment."""
    end_s = (int(time.time()) // DAY_S - 3) * DAY_S
    server = servers.cumae(binary, directory)
    try:
        for number in range(OLD_REQUESTS):
            # Up to the window's end: a file that older rules wrote goes an hour after its last sample has expired.
            first_ms = end_s * 1000 - (OLD_REQUESTS - number) * OLD_SAMPLES
            status = server.request("POST", "/api/v1/push", old_body(number, first_ms),
                                    remote_write.HEADERS)[0]
            if status != 204:
                expect(False, f"{label}: old data is taken, not {status}")
        time_ms = int(time.time() * 1000) - 60_000
        acknowledged = {value for value in range(10) if push(server, value, time_ms) in (200, 204)}
        expect(server.request("POST", "/ingester/flush?seal=true", b"")[0] == 204, f"{label}: all of it is sealed")
        with_old = sstables(directory)
        server.end()
        # A window goes an hour after its end has expired.
        retention_s = int(time.time()) + EXPIRES_AFTER_S - end_s - HOUR_S
        config = f"self_metrics: false\nlimits: {{retention: {retention_s}s}}\n"
        server = servers.cumae(binary, directory, config=config)
        ballast = fill(directory, leave)
        servers.wait_until("a refusal", lambda: push(server, 10, time_ms) == 503, 10)
        is_there = metric(server, "cumae_store_expired_windows_total") == 0 and with_old <= sstables(directory)
        expect(is_there, f"{label}: the disk is full before the old window goes")
        full_free = free_bytes(directory)
        expect({push(server, value, time_ms) for value in range(10, 15)} == {503}, f"{label}: writes get 503")
        servers.wait_until("the window to expire",
                           lambda: metric(server, "cumae_store_expired_windows_total") > 0, EXPIRES_AFTER_S + 30)
        began = time.monotonic()
        gone = with_old - sstables(directory)
        freed = free_bytes(directory) - full_free
        expect(bool(gone), f"{label}: expiry goes on: {len(gone)} sstables of the old window are unlinked, "
                           f"{freed >> 20} MiB are free again")
        servers.wait_until("writes to be taken again", lambda: push(server, 20, time_ms) in (200, 204),
                           RESUMES_WITHIN_S)
        print(f"ok: {label}: writes are taken again {time.monotonic() - began:.1f} s after the expiry")
        acknowledged.add(20)
        expect(acknowledged <= kept(server, time_ms / 1000), f"{label}: the rest is there")
        ballast.unlink()
    finally:
        server.process.kill()
        server.process.wait(60)


def on_small_disk(check_it, binary, leave, label):
    with tempfile.TemporaryDirectory() as directory:
        mount(directory)
        try:
            check_it(binary, directory, leave, label)
        finally:
            subprocess.run(["umount", directory], check=True)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    for leave, label in [(2 << 20, "less than the reserve"), (0, "no byte")]:
        on_small_disk(check, binary, leave, label)
        on_small_disk(check_expiry, binary, leave, f"{label}, a window expires")


if __name__ == "__main__":
    main()
