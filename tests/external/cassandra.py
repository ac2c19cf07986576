#!/usr/bin/env python3
"""A real Cassandra: the store's conformance suite over it, a process that serves from it, and what is said when it is not as it
has to be.

    cassandra.py CUMAE [says|serves|suite]

CUMAE is built with the feature `cassandra`. Nodes listen on 127.0.0.N, ports of their own, data in a folder that goes.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import servers
from cql import Cql, Refused

JARS = servers.ROOT / ".cache" / "cassandra"
SCRIPT = servers.ROOT / "tests" / "external" / "cassandra"
PORTS = {"CQL_PORT": "19142", "STORAGE_PORT": "17100"}
ONE_COPY = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"


class Node:
    """A Cassandra alone."""

    def __init__(self, directory, number, **settings):
        self.directory, self.number = directory, number
        self.env = {**os.environ, **PORTS, "LIB": str(JARS / "lib"), **settings}
        self.address = f"127.0.0.{number}:{PORTS['CQL_PORT']}"
        self.start()

    def start(self):
        subprocess.run([SCRIPT, "start", self.directory, str(self.number), str(self.number)], env=self.env, check=True)

    def stop(self):
        subprocess.run([SCRIPT, "stop", self.directory, str(self.number)], env=self.env, check=True)

    def session(self, user=None, password=None):
        host, port = self.address.split(":")
        return Cql(host, int(port), user, password)

    def lets_in(self, user, password):
        """A session, if the user is known by now: a new node answers before it has made its first role."""
        try:
            return self.session(user, password)
        except Refused:
            return None


def over(binary, node, directory, keyspace, config="self_metrics: false\n"):
    """A cumae over a keyspace of its own on a node."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)
    config += (f"storage: cassandra\ncassandra: {{contact_points: ['{node.address}'], keyspace: {keyspace}}}\n"
               f"cluster: {{listen: '127.0.0.1:{servers.free_port()}'}}\n")
    (directory / "cumae.yaml").write_text(config)
    init = [binary, "--config", directory / "cumae.yaml", "cassandra", "init", "--gc-grace", "0", "--replication", ONE_COPY]
    subprocess.run([str(part) for part in init], check=True, capture_output=True, timeout=300)
    return servers.cumae(binary, directory, config)


class Cumae:
    """The binary, with a configuration of its own."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, pathlib.Path(directory)

    def run(self, settings, *arguments):
        """`cumae cassandra …`; `serve` is a process that serves, which has to end by itself."""
        config = self.directory / "cumae.yaml"
        text = "cassandra:\n" + "".join(f"  {key}: {value}\n" for key, value in settings.items())
        command = ["cassandra", *arguments]
        if arguments == ("serve",):
            text += f"storage: cassandra\ncluster: {{listen: '127.0.0.1:{servers.free_port()}'}}\n"
            command = ["--listen", f"127.0.0.1:{servers.free_port()}"]
        config.write_text(text)
        done = subprocess.run([self.binary, "--config", config, *command], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def says(self, settings, arguments, status, *words):
        code, text = self.run(settings, *arguments)
        missing = [word for word in words if word not in text]
        if code != status or missing:
            raise SystemExit(f"FAILED: cassandra {' '.join(arguments)} ended with {code} and without {missing}:\n{text}")
        print(f"ok: {' '.join(arguments)}: {text.strip().splitlines()[-1][:150]}")


def on_a_sound_node(cumae, node):
    at = {"contact_points": f"['{node.address}']", "keyspace": "says"}
    cumae.says(at, ["status"], 1, "has no keyspace `says`", "cumae cassandra init")
    cumae.says(at, ["init"], 1, "no keyspace `says` yet", "--replication")
    cumae.says(at, ["init", "--dry-run", "--replication", ONE_COPY], 0, "CREATE KEYSPACE", "says.manifest", "WITH ID =")
    cumae.says(at, ["status"], 1, "has no keyspace")
    session = node.session()
    session.run(f"CREATE KEYSPACE says WITH replication = {ONE_COPY}")
    cumae.says(at, ["status"], 1, "no tables of cumae", "cumae cassandra init")
    cumae.says(at, ["init", "--gc-grace", "0"], 0, "is ready: schema version 2")
    cumae.says(at, ["init"], 0, "is ready: schema version 2")
    cumae.says(at, ["status"], 0, "schema version 2, gc_grace 0 s", "syncs before it answers", "manifest")
    cumae.says(at, ["check"], 0, "sound: 0 files")
    cumae.says({**at, "local_dc": "elsewhere"}, ["status"], 1, "local_dc", "datacenter1")

    session.run("DROP TABLE says.definitions")
    session.run("CREATE TABLE says.definitions (file bigint PRIMARY KEY)")
    cumae.says(at, ["init"], 1, "`definitions` has the id", "made by hand")
    session.run("DROP TABLE says.definitions")
    session.run("UPDATE says.settings SET guard = textAsBlob('7') WHERE kind = 'schema'")
    for command in ["status", "init", "check", "serve"]:
        cumae.says(at, [command], 1, "version 7", "use a newer cumae")
    session.run("DROP TABLE says.manifest")
    session.run("UPDATE says.settings SET guard = textAsBlob('1') WHERE kind = 'schema'")
    cumae.says(at, ["status"], 1, "version 1", "in another keyspace")
    session.run("UPDATE says.settings SET guard = textAsBlob('2') WHERE kind = 'schema'")
    for command in ["status", "serve"]:
        cumae.says(at, [command], 1, "`manifest` is not there", "from a backup")


def on_a_node_with_roles(cumae, node):
    """Which answers before it syncs, too."""
    secret = cumae.directory / "secret"
    secret.write_text("cassandra\n")
    at = {"contact_points": f"['{node.address}']", "keyspace": "roles"}
    login = {**at, "username": "cassandra", "password_file": secret}
    cumae.says(at, ["status"], 1, "let `` in", "cassandra.username")
    session = servers.wait_until("the first role of the node", lambda: node.lets_in("cassandra", "cassandra"))
    cumae.says(login, ["init", "--replication", ONE_COPY], 1, "commitlog_sync: periodic", "accept_periodic_commitlog")
    accepting = {**login, "accept_periodic_commitlog": "true"}
    cumae.says(accepting, ["init", "--replication", ONE_COPY], 0, "is ready")
    cumae.says(login, ["status"], 0, "answers before it syncs", "keeps the files of dropped tables")
    cumae.says(login, ["serve"], 1, "commitlog_sync: periodic", "accept_periodic_commitlog")

    session.run("CREATE ROLE guest WITH PASSWORD = 'guest' AND LOGIN = true")
    secret.write_text("guest\n")
    for command in ["status", "serve"]:
        cumae.says({**login, "username": "guest"}, [command], 1, "permission", "the role needs SELECT")
    secret.write_text("wrong\n")
    for command in ["status", "serve"]:
        cumae.says(login, [command], 1, "let `cassandra` in", "password_file")


def certificates(directory, address):
    """Who signs, a node at that address and a client that were signed, and somebody else who signs: PEM."""
    directory.mkdir()
    openssl = lambda *words: subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)
    key = ["-newkey", "rsa:2048", "-nodes"]
    for name in ("ca", "other"):
        openssl("req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (directory / "names").write_text(f"subjectAltName=IP:{address}\n")
    for name in ("node", "client"):
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names",
                "-out", f"{name}.crt")
    (directory / "node.pem").write_bytes((directory / "node.key").read_bytes() + (directory / "node.crt").read_bytes())
    return directory


def on_a_node_with_tls(cumae, node):
    """Which lets nobody in without a certificate."""
    of = cumae.directory / "tls"
    at = {"contact_points": f"['{node.address}']", "keyspace": "tls"}
    trusting = {**at, "tls_ca_file": of / "ca.pem"}
    known = {**trusting, "tls_cert_file": of / "client.crt", "tls_key_file": of / "client.key"}
    cumae.says(at, ["status"], 1, "if it wants TLS, cassandra.tls_ca_file")
    cumae.says({**known, "tls_ca_file": of / "other.pem"}, ["status"], 1, "cassandra.tls_ca_file has to have signed")
    cumae.says(trusting, ["status"], 1, "cassandra.tls_cert_file")
    cumae.says({**known, "tls_ca_file": of / "none.pem"}, ["status"], 1, "none.pem")
    cumae.says(known, ["init", "--replication", ONE_COPY], 0, "is ready")
    cumae.says(known, ["status"], 0, "syncs before it answers")


def says(binary):
    with tempfile.TemporaryDirectory() as directory:
        cumae = Cumae(binary, directory)
        nowhere = {"contact_points": "['127.0.0.1:9']"}
        cumae.says(nowhere, ["status"], 1, "no node of Cassandra answers at 127.0.0.1:9", "cassandra.contact_points")
        for number, examine, settings in [
            (1, on_a_sound_node, {}),
            (2, on_a_node_with_roles, {"AUTHENTICATOR": "PasswordAuthenticator", "COMMITLOG_SYNC": "periodic", "AUTO_SNAPSHOT": "true"}),
            (3, on_a_node_with_tls, {"TLS": str(certificates(cumae.directory / "tls", "127.0.0.3"))}),
        ]:
            node = Node(directory, number, **settings)
            try:
                examine(cumae, node)
            finally:
                node.stop()


class Written:
    """What was acknowledged, against what is answered."""

    def __init__(self):
        self.start_ms, self.count, self.refused = 1000 * (int(time.time()) - 3600), 0, 0

    def write(self, server):
        """One more moment of 50 series; tried until it is acknowledged."""
        at = self.start_ms + 1000 * self.count
        body = "".join(f'kept{{job="a",series="{number}"}} {self.count} {at}\n' for number in range(50)).encode()

        def acknowledged():
            status, text = server.request("POST", "/api/v1/import/prometheus", body)
            if status == 204 or status == 200:
                return True
            if status != 503:
                raise SystemExit(f"FAILED: a write is answered with {status}: {text[:300]!r}")
            self.refused += 1
            return False

        servers.wait_until("a write to be acknowledged", acknowledged, every=0.2)
        self.count += 1

    def check(self, server):
        def answered():
            query = {"query": f"sum(count_over_time(kept[{self.count + 10}s]))",
                     "time": f"{self.start_ms / 1000 + self.count:.3f}"}
            answer = server.api("query", query)
            return answer if answer["status"] == "success" else None

        answer = servers.wait_until("an answer", answered)
        result = answer["data"]["result"]
        found = float(result[0]["value"][1]) if result else 0
        if found != 50 * self.count:
            raise SystemExit(f"FAILED: {found:.0f} samples instead of {50 * self.count}: {servers.json.dumps(answer)[:600]}")
        print(f"ok: {found:.0f} samples are there")


def serves(binary):
    """A process serves from rows; it is killed, and the node is, and what was acknowledged is there."""
    with tempfile.TemporaryDirectory() as directory:
        node, server = Node(directory, 1), None
        try:
            at = {"contact_points": f"['{node.address}']", "keyspace": "serves"}
            cumae = Cumae(binary, directory)
            cumae.says(at, ["init", "--replication", ONE_COPY], 0, "is ready")
            config = (cumae.directory / "cumae.yaml").read_text() + "storage: cassandra\nself_metrics: false\n"
            config += f"cluster: {{listen: '127.0.0.1:{servers.free_port()}'}}\n"
            written = Written()
            server = servers.cumae(binary, pathlib.Path(directory) / "process", config)
            for _ in range(20):
                written.write(server)
            written.check(server)
            server.kill()
            server = servers.cumae(binary, pathlib.Path(directory) / "process", config)
            written.check(server)
            for _ in range(20):
                written.write(server)
            subprocess.run(["kill", "-9", pathlib.Path(directory, "node1", "pid").read_text().strip()], check=True)
            node.start()
            for _ in range(20):
                written.write(server)
            written.check(server)
            if server.end() != 0:
                raise SystemExit(f"FAILED: it ends with an error: {server.log.read_text()[-2000:]}")
            cumae.says(at, ["check"], 0, "sound: ")
            cumae.says(at, ["status"], 0, "segments_0_")
        finally:
            if server and server.process.poll() is None:
                server.kill()
            node.stop()


def suite(binary):
    """The same sequences as over the fake, and upstream's compliance queries; in one test the node is killed with the process, and started again."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(directory, 1)
        kill = f"kill -9 $(cat {directory}/node1/pid); sleep 0.2; {SCRIPT} start {directory} 1"
        env = {**node.env, "CUMAE_CASSANDRA": node.address, "CUMAE_CASSANDRA_KILL": kill, "CUMAE_BIN": str(binary)}
        try:
            test = ["cargo", "test", "--package", "tests", "--features", "cassandra", "--test", "real_cassandra"]
            subprocess.run([*test, "--", "--test-threads=1"], env=env, cwd=servers.ROOT, check=True)
        finally:
            node.stop()


def main():
    binary, what = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or ["says", "serves", "suite"]
    subprocess.run([SCRIPT, "fetch", JARS], check=True)
    if "says" in what:
        says(binary)
    if "serves" in what:
        serves(binary)
    if "suite" in what:
        suite(binary)


if __name__ == "__main__":
    main()
