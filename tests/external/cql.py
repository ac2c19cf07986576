"""As much of CQL's protocol, version 4, as tests need to do by hand what an administrator does. Standard library only."""

import socket
import struct


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
            raise SystemExit(f"FAILED: no session with Cassandra: {body!r}")

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
        """Runs a statement at ONE; an error ends the run."""
        text = statement.encode()
        opcode, body = self._ask(0x07, struct.pack("!i", len(text)) + text + struct.pack("!HB", 1, 0))
        if opcode == 0x00:
            raise SystemExit(f"FAILED: {statement}: {body[6:].decode(errors='replace')}")
