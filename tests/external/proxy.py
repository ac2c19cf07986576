"""A TCP proxy in front of the nodes of a Cassandra: it hangs, delays, cuts, refuses and counts, by process and by node.

Node N listens on 127.0.0.N, clients are told to look for it on 127.0.0.1N (BEHIND_PROXY of `cassandra`), where this listens. Which
process a connection is of is looked up in /proc. Standard library only.
"""

import asyncio
import collections
import os
import socket
import struct
import threading

from cql_frames import Frames

# What a direction of a connection may hold back.
CHUNK_BYTES, CHUNKS_MAX = 1 << 16, 64
PASSES = {"hang": False, "cut": False, "delay_s": 0.0, "refused": 0.0}


class Proxy:
    """Listens for so many nodes, on a thread of its own."""

    def __init__(self, nodes, port):
        self.port, self.pids, self.connections = port, {}, set()
        self.rules, self.changed = {}, None
        # By process: requests by their kind, bytes to the nodes, connections opened.
        self.asked = collections.defaultdict(collections.Counter)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self._in_loop(self._listen(nodes))

    def _in_loop(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _listen(self, nodes):
        self.changed = asyncio.Condition()
        for node in range(1, nodes + 1):
            handle = lambda reader, writer, node=node: self._serve(node, reader, writer)
            await asyncio.start_server(handle, f"127.0.0.1{node}", self.port, limit=CHUNK_BYTES)

    def know(self, name, pid):
        """Connections of this process are those of `name` from now on."""
        self.pids[name] = pid

    def rule(self, name=None, node=None, **what):
        """What happens to the connections of a process, or all, to a node, or all, from now on: `hang`, `cut`, `delay_s`, or this share
        `refused` of the requests (cql_frames.py)."""
        self._in_loop(self._rule((name, node), {**PASSES, **what}))

    def clear(self, name=None, node=None):
        """What was ruled of them passes again."""
        self._in_loop(self._rule((name, node), None))

    def clear_all(self):
        for key in list(self.rules):
            self.clear(*key)

    async def _rule(self, key, rule):
        self.rules[key] = rule
        for connection in list(self.connections):
            if connection.rule()["cut"]:
                connection.reset()
        async with self.changed:
            self.changed.notify_all()

    def of(self, name, node):
        """The rule in force: of the process at the node, of the process, of the node, of all."""
        for key in [(name, node), (name, None), (None, node), (None, None)]:
            if self.rules.get(key):
                return self.rules[key]
        return PASSES

    def counts(self, name):
        return collections.Counter(self.asked[name])

    async def _serve(self, node, reader, writer):
        name = self._whose(writer)
        connection = Connection(self, name, node, writer)
        self.asked[name]["connections"] += 1
        if connection.rule()["cut"]:
            connection.reset()
            return
        self.connections.add(connection)
        try:
            await connection.run(reader)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections.discard(connection)
            connection.reset()

    def _whose(self, writer):
        """Who has the other end of a connection that was accepted."""
        host, port = writer.get_extra_info("peername")
        word = struct.pack("<I", struct.unpack("!I", socket.inet_aton(host))[0]).hex().upper()
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table]
        inode = next((row[9] for row in rows if row[1] == f"{word}:{port:04X}"), None)
        for name, pid in list(self.pids.items()):
            try:
                for fd in os.scandir(f"/proc/{pid}/fd"):
                    if os.readlink(fd.path) == f"socket:[{inode}]":
                        return name
            except OSError:
                continue
        return None


class Connection:
    """One, to one node."""

    def __init__(self, proxy, name, node, client):
        self.proxy, self.name, self.node, self.client, self.server = proxy, name, node, client, None

    def rule(self):
        return self.proxy.of(self.name, self.node)

    def reset(self):
        """Both ends see that it is gone, at once."""
        for writer in [self.client, self.server]:
            if writer and not writer.transport.is_closing():
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def run(self, reader):
        await self._passes()
        answers, self.server = await asyncio.open_connection(f"127.0.0.{self.node}", self.proxy.port, limit=CHUNK_BYTES)
        frames = Frames(self.proxy.asked[self.name])
        # What came first leaves first, each at its time.
        to_node, to_client = asyncio.Queue(CHUNKS_MAX), asyncio.Queue(CHUNKS_MAX)
        ways = [self._ask(reader, frames, to_node, to_client), self._answer(answers, frames, to_client),
                self._carry(to_node, self.server), self._carry(to_client, self.client)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            # Who reads has its end carried on.
            await asyncio.wait(tasks[2:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _passes(self):
        async with self.proxy.changed:
            await self.proxy.changed.wait_for(lambda: not self.rule()["hang"])

    async def _carry(self, held, writer):
        while True:
            due, chunk = await held.get()
            if not chunk:
                return
            await asyncio.sleep(max(0.0, due - self.proxy.loop.time()))
            if self.rule()["hang"]:
                await self._passes()
            writer.write(chunk)
            await writer.drain()

    async def _ask(self, reader, frames, to_node, to_client):
        while chunk := await read(reader):
            on, back = frames.asked(chunk, self.rule()["refused"])
            await self._hold(to_node, on)
            await self._hold(to_client, back)
        await to_node.put((0.0, b""))

    async def _answer(self, reader, frames, to_client):
        while chunk := await read(reader):
            await self._hold(to_client, frames.answered(chunk))
        await to_client.put((0.0, b""))

    async def _hold(self, held, chunk):
        if chunk:
            await held.put((self.proxy.loop.time() + self.rule()["delay_s"], chunk))


async def read(reader):
    """What there is; nothing at the end."""
    try:
        return await reader.read(CHUNK_BYTES)
    except OSError:
        return b""
