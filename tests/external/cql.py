"""As much of CQL's protocol, version 4, as tests need to do by hand what an administrator does. Standard library only."""

import socket
import struct


class Refused(SystemExit):
    """A node does not let a user in; ends the run unless it is caught."""


class Cql:
    """One connection."""

    def __init__(self, host, port, user=None, password=None):
        self.socket = socket.create_connection((host, port), timeout=60)
        self.socket.settimeout(60)
        opcode, body = self._ask(0x01, struct.pack("!H", 1) + self._string("CQL_VERSION") + self._string("3.0.0"))
        if opcode == 0x03:
            token = f"\0{user}\0{password}".encode()
            opcode, body = self._ask(0x0F, struct.pack("!i", len(token)) + token)
        if opcode not in (0x02, 0x10):
            raise Refused(f"FAILED: no session with Cassandra: {body!r}")

    @staticmethod
    def _string(text):
        return struct.pack("!H", len(text)) + text.encode()

    def _ask(self, opcode, body):
        self.socket.sendall(struct.pack("!BBhBi", 4, 0, 0, opcode, len(body)) + body)
        _, _, _, opcode, length = struct.unpack("!BBhBi", self._read(9))
        return opcode, self._read(length)

    def _read(self, length):
        read = b""
        while len(read) < length:
            some = self.socket.recv(length - len(read))
            if not some:
                raise SystemExit("FAILED: Cassandra closed the connection")
            read += some
        return read

    def run(self, statement):
        """Runs a statement at ONE, and returns what is answered; an error ends the run."""
        text = statement.encode()
        opcode, body = self._ask(0x07, struct.pack("!i", len(text)) + text + struct.pack("!HB", 1, 0))
        if opcode == 0x00:
            raise SystemExit(f"FAILED: {statement}: {body[6:].decode(errors='replace')}")
        return body

    def prepare(self, statement):
        """The id by which a statement is executed."""
        text = statement.encode()
        opcode, body = self._ask(0x09, struct.pack("!i", len(text)) + text)
        if opcode == 0x00:
            raise SystemExit(f"FAILED: {statement}: {body[6:].decode(errors='replace')}")
        (length,) = struct.unpack_from("!H", body, 4)
        return body[6:6 + length]

    def execute(self, prepared, rows):
        """Executes a prepared statement once for each row of values, all under way at once; an error ends the run."""
        frames = []
        for stream, values in enumerate(rows):
            body = struct.pack("!H", len(prepared)) + prepared + struct.pack("!HBH", 1, 1, len(values))
            body += b"".join(struct.pack("!i", len(value)) + value for value in values)
            frames.append(struct.pack("!BBhBi", 4, 0, stream, 0x0A, len(body)) + body)
        self.socket.sendall(b"".join(frames))
        for _ in frames:
            _, _, _, opcode, length = struct.unpack("!BBhBi", self._read(9))
            body = self._read(length)
            if opcode == 0x00:
                raise SystemExit(f"FAILED: {body[6:].decode(errors='replace')}")

    def rows(self, statement):
        """The rows of a SELECT, all at once: numbers, texts, bytes."""
        result = Result(self.run(statement))
        if result.int() != 2:
            raise SystemExit(f"FAILED: {statement}: no rows are answered")
        flags, columns = result.int(), result.int()
        if flags & 1:
            result.text(), result.text()
        kinds = []
        for _ in range(columns):
            if not flags & 1:
                result.text(), result.text()
            result.text()
            kinds.append(result.short())
        return [[result.value(kind) for kind in kinds] for _ in range(result.int())]


class Result:
    """The body of an answer."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, count):
        self.at += count
        return self.body[self.at - count:self.at]

    def short(self):
        return struct.unpack("!H", self.take(2))[0]

    def int(self):
        return struct.unpack("!i", self.take(4))[0]

    def text(self):
        return self.take(self.short()).decode()

    def value(self, kind):
        length = self.int()
        if length < 0:
            return None
        data = self.take(length)
        if kind in (0x02, 0x09):
            return int.from_bytes(data, "big", signed=True)
        return data.decode() if kind == 0x0D else data
