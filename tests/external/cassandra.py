#!/usr/bin/env python3
"""A real Cassandra: the store's conformance suite over it, and what is said when it is not as it has to be.

    cassandra.py CUMAE [says|suite]

CUMAE is built with the feature `cassandra`. Nodes listen on 127.0.0.N, ports of their own, data in a folder that goes.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import servers
from cql import Cql

JARS = servers.ROOT / ".cache" / "cassandra"
SCRIPT = servers.ROOT / "tests" / "external" / "cassandra"
PORTS = {"CQL_PORT": "19142", "STORAGE_PORT": "17100"}
ONE_COPY = "{'class': 'SimpleStrategy', 'replication_factor': 1}"


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


class Cumae:
    """The binary, with a configuration of its own."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, pathlib.Path(directory)

    def run(self, settings, *arguments):
        config = self.directory / "cumae.yaml"
        config.write_text("cassandra:\n" + "".join(f"  {key}: {value}\n" for key, value in settings.items()))
        done = subprocess.run([self.binary, "--config", config, "cassandra", *arguments],
                              capture_output=True, text=True, timeout=120)
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
    cumae.says(at, ["init", "--gc-grace", "0"], 0, "is ready: schema version 1")
    cumae.says(at, ["init"], 0, "is ready: schema version 1")
    cumae.says(at, ["status"], 0, "schema version 1, gc_grace 0 s", "syncs before it answers", "manifest")
    cumae.says(at, ["check"], 0, "sound: 0 files")
    cumae.says({**at, "local_dc": "elsewhere"}, ["status"], 1, "local_dc", "datacenter1")

    session.run("DROP TABLE says.definitions")
    session.run("CREATE TABLE says.definitions (file bigint PRIMARY KEY)")
    cumae.says(at, ["init"], 1, "`definitions` has the id", "made by hand")
    session.run("DROP TABLE says.definitions")
    session.run("UPDATE says.settings SET guard = textAsBlob('7') WHERE kind = 'schema'")
    for command in ["status", "init", "check"]:
        cumae.says(at, [command], 1, "version 7", "use a newer cumae")
    session.run("DROP TABLE says.manifest")
    session.run("UPDATE says.settings SET guard = textAsBlob('1') WHERE kind = 'schema'")
    cumae.says(at, ["status"], 1, "`manifest` is not there", "from a backup")


def on_a_node_with_roles(cumae, node):
    """Which answers before it syncs, too."""
    secret = cumae.directory / "secret"
    secret.write_text("cassandra\n")
    at = {"contact_points": f"['{node.address}']", "keyspace": "roles"}
    login = {**at, "username": "cassandra", "password_file": secret}
    cumae.says(at, ["status"], 1, "let `` in", "cassandra.username")
    cumae.says(login, ["init", "--replication", ONE_COPY], 1, "commitlog_sync: periodic", "accept_periodic_commitlog")
    accepting = {**login, "accept_periodic_commitlog": "true"}
    cumae.says(accepting, ["init", "--replication", ONE_COPY], 0, "is ready")
    cumae.says(login, ["status"], 0, "answers before it syncs")

    session = node.session("cassandra", "cassandra")
    session.run("CREATE ROLE guest WITH PASSWORD = 'guest' AND LOGIN = true")
    secret.write_text("guest\n")
    cumae.says({**login, "username": "guest"}, ["status"], 1, "permission", "the role needs SELECT")
    secret.write_text("wrong\n")
    cumae.says(login, ["status"], 1, "let `cassandra` in", "password_file")


def says(binary):
    with tempfile.TemporaryDirectory() as directory:
        cumae = Cumae(binary, directory)
        nowhere = {"contact_points": "['127.0.0.1:9']"}
        cumae.says(nowhere, ["status"], 1, "no node of Cassandra answers at 127.0.0.1:9", "cassandra.contact_points")
        for number, examine, settings in [
            (1, on_a_sound_node, {}),
            (2, on_a_node_with_roles, {"AUTHENTICATOR": "PasswordAuthenticator", "COMMITLOG_SYNC": "periodic"}),
        ]:
            node = Node(directory, number, **settings)
            try:
                examine(cumae, node)
            finally:
                node.stop()


def suite():
    """The same sequences as over the fake; in one test the node is killed with the process, and started again."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(directory, 1)
        kill = f"kill -9 $(cat {directory}/node1/pid); sleep 0.2; {SCRIPT} start {directory} 1"
        env = {**node.env, "CUMAE_CASSANDRA": node.address, "CUMAE_CASSANDRA_KILL": kill}
        try:
            test = ["cargo", "test", "--package", "tests", "--features", "cassandra", "--test", "real_cassandra"]
            subprocess.run([*test, "--", "--test-threads=1"], env=env, cwd=servers.ROOT, check=True)
        finally:
            node.stop()


def main():
    binary, what = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or ["says", "suite"]
    subprocess.run([SCRIPT, "fetch", JARS], check=True)
    if "says" in what:
        says(binary)
    if "suite" in what:
        suite()


if __name__ == "__main__":
    main()
