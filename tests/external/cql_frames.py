"""CQL's frames, version 4, of one connection: counted, and a share of the requests refused as a database in trouble refuses them.
Standard library only."""

import random
import struct

HEADER = struct.Struct("!BBhBi")
QUERY, PREPARE, EXECUTE, BATCH = 0x07, 0x09, 0x0A, 0x0D
# Of the requests those that ask the database for something.
ASKS = {QUERY: "query", EXECUTE: "execute", BATCH: "batch", PREPARE: "prepare"}
ERROR, RESULT, VOID = 0x00, 0x08, 1
ANSWER = 0x84
LOCAL_QUORUM = 0x0006


def string(text):
    return struct.pack("!H", len(text)) + text.encode()


def refusal(code, more=b""):
    """The body of an error."""
    return struct.pack("!i", code) + string("the test says so") + more


# Of what was not looked at; of a read, or a change on condition, that was done; of writes that were done.
OVERLOADED = ("overloaded", refusal(0x1001))
SERVER_ERROR = ("server-error", refusal(0x0000))
OF_WRITES = [
    ("write-timeout", refusal(0x1100, struct.pack("!Hii", LOCAL_QUORUM, 1, 2) + string("SIMPLE"))),
    ("write-failure", refusal(0x1500, struct.pack("!Hiii", LOCAL_QUORUM, 1, 2, 1) + string("SIMPLE"))),
]


class Whole:
    """The frames of a stream of bytes, each whole."""

    def __init__(self):
        self.held = bytearray()

    def take(self, chunk):
        self.held += chunk
        frames = []
        while len(self.held) >= HEADER.size:
            length = HEADER.size + HEADER.unpack_from(self.held)[4]
            if len(self.held) < length:
                break
            frames.append(bytes(self.held[:length]))
            del self.held[:length]
        return frames


class Frames:
    """What one connection asks and is answered."""

    def __init__(self, counts):
        self.counts, self.requests, self.answers = counts, Whole(), Whole()
        # The streams of requests that are done, and whose answer says that they may not have been.
        self.denied = set()

    def asked(self, chunk, refused):
        """What goes on to the node, and what is answered at once: this share of the requests is refused, half of them unseen."""
        self.counts["bytes"] += len(chunk)
        on, back = [], []
        for frame in self.requests.take(chunk):
            _, _, stream, kind, _ = HEADER.unpack_from(frame)
            self.counts[ASKS.get(kind, "other")] += 1
            draw = random.random() if kind in (EXECUTE, BATCH) else 1.0
            if draw < refused / 2:
                back.append(self._no(stream, OVERLOADED))
                continue
            if draw < refused:
                self.denied.add(stream)
            on.append(frame)
        return b"".join(on), b"".join(back)

    def answered(self, chunk):
        """What goes on to who asked."""
        return b"".join(self._answer(frame) for frame in self.answers.take(chunk))

    def _answer(self, frame):
        _, flags, stream, kind, _ = HEADER.unpack_from(frame)
        if stream not in self.denied:
            return frame
        self.denied.discard(stream)
        if kind != RESULT or flags:
            return frame
        (of,) = struct.unpack_from("!i", frame, HEADER.size)
        return self._no(stream, random.choice(OF_WRITES) if of == VOID else SERVER_ERROR)

    def _no(self, stream, what):
        name, body = what
        self.counts[name] += 1
        return HEADER.pack(ANSWER, 0, stream, ERROR, len(body)) + body
