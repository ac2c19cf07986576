"""Starts servers on free ports of 127.0.0.1, asks them, and ends them. Standard library only."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NEIGHBOURS = ROOT / ".cache" / "neighbours" / "usr" / "bin"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, happened, seconds=60.0, every=0.1):
    """Asks `happened` until it answers something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = happened()
        if answer:
            return answer
        time.sleep(every)
    raise SystemExit(f"FAILED: waited {seconds:.0f} s for {what}")


class Server:
    """A process that serves HTTP."""

    def __init__(self, name, command, port, log, ready, env=None):
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.log = pathlib.Path(log)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})},
            )
        self.pid = self.process.pid
        wait_until(f"{name} to be ready (log: {self.log})", lambda: self._is_ready(ready), every=0.02)

    def _is_ready(self, path):
        if self.process.poll() is not None:
            raise SystemExit(f"FAILED: {self.name} ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        try:
            return self.request("GET", path)[0] == 200
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None, timeout=120):
        """Status and body, whatever the status is."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def api(self, path, parameters):
        """The decoded answer of the query API."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        status, body = self.request("GET", f"/api/v1/{path}?{query}")
        try:
            return json.loads(body)
        except ValueError:
            return {"status": "error", "error": f"HTTP {status}: {body[:300]!r}"}

    def query(self, query, time_s):
        """The result of an instant query; an error ends the run."""
        answer = self.api("query", {"query": query, "time": f"{time_s:.3f}"})
        if answer["status"] != "success":
            raise SystemExit(f"FAILED: {self.name}: {query}: {answer}")
        return answer["data"]["result"]

    def memory(self):
        """Anonymous resident bytes."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def end(self):
        """Asks it to end and returns its status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


def cumae(binary, directory, config="self_metrics: false\n", port=None, wrapper=(), name="cumae"):
    """A cumae with its data below `directory`."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cumae.yaml").write_text(config)
    port = port or free_port()
    command = [*wrapper, binary, "--config", directory / "cumae.yaml",
               "--data-dir", directory / "data", "--listen", f"127.0.0.1:{port}"]
    return Server(name, command, port, directory / "cumae.log", "/-/ready")


def prometheus(directory, config, *flags):
    """A Prometheus with this configuration, taking remote write too."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (directory / "prometheus.yml").write_text(config.replace("SELF", f"127.0.0.1:{port}"))
    command = [NEIGHBOURS / "prometheus", f"--config.file={directory / 'prometheus.yml'}",
               f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
               "--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y", *flags]
    return Server("prometheus", command, port, directory / "prometheus.log", "/-/ready")


def victoria_metrics(directory):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [NEIGHBOURS / "victoria-metrics", f"-storageDataPath={directory / 'data'}",
               f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y", "-search.latencyOffset=0s",
               "-loggerLevel=WARN"]
    return Server("victoria-metrics", command, port, directory / "victoria-metrics.log", "/health")
