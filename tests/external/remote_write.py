"""Remote write 1.0 by hand: protobuf, native histograms as they grow, snappy. Standard library only."""

import random
import struct

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
           "X-Prometheus-Remote-Write-Version": "0.1.0"}


def varint(number):
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(message):
    """The message as it is, in snappy's literals."""
    out = varint(len(message))
    for at in range(0, len(message), 65536):
        part = message[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return out


def series(labels, samples=(), histograms=()):
    """A series of a request: its labels, (time in ms, value), and histograms as messages."""
    out = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
    for at, value in samples:
        out += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(at))
    return field(1, out + b"".join(field(4, histogram) for histogram in histograms))


def push(server, path, message):
    """Writes a request, or ends the run."""
    status, body = server.request("POST", path, snappy(message), HEADERS)
    if status not in (200, 204):
        raise SystemExit(f"FAILED: {server.name}: {path}: {status} {body[:1000]!r}")


class Native:
    """A native histogram as it grows: positive and negative buckets by index, and the observations of zero."""

    def __init__(self, seed, kind, custom):
        self.random, self.kind, self.custom = random.Random(seed), kind, custom
        self.reset()

    def reset(self):
        self.positive, self.negative, self.zero, self.sum = {}, {}, 0, 0.0
        self.schema = -53 if self.custom else self.random.choice([-4, 0, 3, 8])
        self.threshold = 0.0 if self.custom else self.random.choice([0.0, 0.25, 1e-3, 2.0**-128])
        bounds = sorted(self.random.sample([0.005, 0.1, 0.25, 1.0, 1 / 3, 7.5, 1e9, -2.0], 6)) if self.custom else []
        self.bounds, self.reach = bounds, 3

    def observe(self):
        """New observations, sometimes in buckets that were empty; sometimes it begins anew."""
        if self.random.random() < 0.01:
            self.reset()
        if self.random.random() < 0.05:
            self.reach += 2
        for _ in range(self.random.randrange(4)):
            step = 1 if self.kind == "integer" else self.random.choice([0.5, 1 / 3, 2.0])
            if self.kind == "gauge" and self.random.random() < 0.3:
                self.positive = {k: v / 2 for k, v in self.positive.items()}
            if self.custom:
                buckets, index = self.positive, self.random.randrange(len(self.bounds) + 1)
            else:
                buckets = self.random.choice([self.positive, self.positive, self.negative])
                index = self.random.randrange(-self.reach, self.reach)
            buckets[index] = buckets.get(index, 0) + step
            self.zero += 0 if self.custom else step
            self.sum += self.random.choice([-1.5, 0.1, 3.0])

    def message(self, at):
        """Remote write's form of it."""
        is_float = self.kind != "integer"
        double = lambda number, value: varint(number << 3 | 1) + struct.pack("<d", value)
        count = sum(self.positive.values()) + sum(self.negative.values()) + self.zero
        whole = lambda number, value: double(number + 1, value) if is_float else varint(number << 3) + varint(value)
        out = whole(1, count) + double(3, self.sum) + varint(4 << 3) + varint(zigzag(self.schema)) + double(5, self.threshold)
        out += whole(6, self.zero)
        for first, buckets in ((8, self.negative), (11, self.positive)):
            last = end = 0
            deltas = counts = b""
            for start, length in spans(sorted(buckets)):
                out += field(first, b"\x08" + varint(zigzag(start - end)) + b"\x10" + varint(length))
                end = start + length
                for index in range(start, end):
                    value = buckets[index]
                    deltas, counts, last = deltas + (b"" if is_float else varint(zigzag(value - last))), counts + struct.pack("<d", value), value
            out += field(first + 2, counts) if is_float else field(first + 1, deltas)
        out += varint(14 << 3) + varint(3 if self.kind == "gauge" else 0) + varint(15 << 3) + varint(at)
        return out + field(16, b"".join(struct.pack("<d", bound) for bound in self.bounds))


def stale_message(at, kind):
    """Of the flavour of its series: Prometheus takes all integers of a request before all floats."""
    count = b"\x08\x00" if kind == "integer" else b"\x11" + bytes(8)
    return count + b"\x19" + struct.pack("<d", STALE) + varint(15 << 3) + varint(at)


def spans(indexes):
    found = []
    for index in indexes:
        if found and found[-1][0] + found[-1][1] == index:
            found[-1][1] += 1
        else:
            found.append([index, 1])
    return found


def zigzag(number):
    return number << 1 ^ number >> 63


def read_varint(data, at):
    """The number that begins at this place, and the place behind it."""
    number, shift = 0, 0
    while True:
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def unpacked(block):
    """The message in a snappy block."""
    length, at = read_varint(block, 0)
    out = bytearray()
    while at < len(block):
        tag, at = block[at], at + 1
        kind, size = tag & 3, tag >> 2
        if kind == 0:
            if size >= 60:
                extra = size - 59
                size, at = int.from_bytes(block[at:at + extra], "little"), at + extra
            out += block[at:at + size + 1]
            at += size + 1
            continue
        if kind == 1:
            size, offset, at = (size & 7) + 4, tag >> 5 << 8 | block[at], at + 1
        else:
            width = 2 if kind == 2 else 4
            size, offset, at = size + 1, int.from_bytes(block[at:at + width], "little"), at + width
        for _ in range(size):
            out.append(out[-offset])
    assert len(out) == length
    return bytes(out)
