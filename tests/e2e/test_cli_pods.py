"""The commands that need real pods: logs, invoke, top."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.metrics_server import metrics_server
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, apply, install_crds, install_rbac, running_operator, wait_admission, wait_for
from tests.support.commandline import CommandLine
from tests.world import here

pytestmark = pytest.mark.timeout(300)
STREAM_SECONDS = 3
SERVER = f"""
import http.server, json, socket, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print("asked for", self.path, flush=True)
        if self.path == "/missing":
            return self.answer(404, {{"detail": "no such thing"}})
        if self.path != "/stream":
            return self.answer(200, {{"path": self.path, "headers": [name.lower() for name in self.headers]}})
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(2):
            self.wfile.write(b"5\\r\\npart" + str(number).encode() + b"\\r\\n")
            self.wfile.flush()
            time.sleep({STREAM_SECONDS})
        self.wfile.write(b"0\\r\\n\\r\\n")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer(200, {{"method": self.command, "type": self.headers["Content-Type"], "body": body}})
    do_PUT = do_POST
    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
print("serving on", socket.gethostname(), flush=True)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
PYTHON = ["/usr/bin/python3", "-c"]


@dataclass(frozen=True)
class World:
    """A cluster with real pods, metrics-server and the operator."""

    cluster: FullCluster
    image: str

    def container(self, name: str, script: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "imageUri": self.image,
            "resourceRequest": {"cpu": 0.1, "memory": "64Mi"},
            "entrypoint": [*PYTHON, script],
            **more,
        }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster:
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        install_crds(cluster)
        install_rbac(cluster)
        kubeconfig = cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
        with metrics_server(cluster), running_operator(cluster, kubeconfig):
            yield World(cluster, image)


@pytest.fixture
def cli(world: World) -> Iterator[CommandLine]:
    name = f"t{uuid.uuid4().hex[:8]}"
    world.cluster.kubectl("create", "namespace", name)
    yield CommandLine(world.cluster.kubeconfig, name)
    world.cluster.kubectl("delete", "workloads.roadstead.dev", "--all", "-n", name, "--wait=false")
    world.cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def chat(world: World, cli: CommandLine) -> CommandLine:
    """Two running replicas of a server with a sidecar."""
    probe = {"path": "/ready", "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 2}
    server = world.container("server", SERVER, primary=True, readinessProbe=probe)
    sidecar = world.container("sidecar", "import signal; print('beside', flush=True); signal.pause()")
    apply(world.cluster, here(cli.namespace, raw_artifact(containers=[sidecar, server])))
    apply(world.cluster, here(cli.namespace, raw_workload(runtime={"replicaCount": 2}, template={"terminationGracePeriodSeconds": 1})))
    cli("wait", "chat", "--timeout=90s")
    wait_for(lambda: cli("get", "rsw", "chat").rows[1][3:] and "2 of 2" in cli("get", "rsw", "chat").out, "both replicas", 60)
    return cli


def test_logs_of_every_pod_and_of_those_to_come(world: World, chat: CommandLine) -> None:
    pods = world.cluster.kubectl("get", "pods", "-n", chat.namespace, "-o", "jsonpath={.items[*].metadata.name}").split()

    printed = chat("logs", "chat", "--tail=-1").out.splitlines()
    assert sorted(line for line in printed if "serving on" in line) == sorted(f"[{pod}] serving on {pod}" for pod in pods)
    assert sorted(chat("logs", "chat", "-c", "sidecar").out.splitlines()) == sorted(f"[{pod}] beside" for pod in pods)
    assert len(chat("logs", "chat", "--tail=1").out.splitlines()) == 2
    assert "choose one of: " in chat("logs", "chat", "-c", "nobody", code=1).err

    with chat.running("logs", "chat", "-f", "--tail=0") as process:
        assert process.stdout is not None
        time.sleep(8)  # until it follows: what pods say before that is history
        chat("restart", "chat")
        come: set[str] = set()
        while len(come) < 2:
            line = process.stdout.readline()
            if "serving on" in line:
                come.add(line)
    assert not any(f"[{pod}]" in line for pod in pods for line in come), "only the new pods begin"


@pytest.mark.long
def test_logs_go_on_after_a_restart_of_the_api_server(world: World, cli: CommandLine) -> None:
    """Not a line twice and not one lost."""
    count = "import itertools, time\nfor number in itertools.count():\n    print(number, flush=True)\n    time.sleep(0.1)"
    apply(world.cluster, here(cli.namespace, raw_artifact(containers=[world.container("main", count)])))
    apply(world.cluster, here(cli.namespace, raw_workload(template={"terminationGracePeriodSeconds": 1})))
    cli("wait", "chat", "--timeout=90s")

    with cli.running("logs", "chat", "-f") as process:
        assert process.stdout is not None
        numbers = [int(process.stdout.readline().split()[1]) for _ in range(20)]
        world.cluster.restart_apiserver()
        until = numbers[-1] + 200
        while numbers[-1] < until:
            numbers.append(int(process.stdout.readline().split()[1]))

    assert numbers == list(range(len(numbers)))
    wait_admission(world.cluster)


@pytest.mark.long
def test_logs_of_the_run_before(world: World, cli: CommandLine) -> None:
    """Its first run ends, the second one finds what that left and goes on: so the first one's log is kept."""
    script = (
        "import os, signal\nmark = os.path.join(os.environ['HOME'], 'mark')\nif os.path.exists(mark):\n"
        "    print('second run', flush=True)\n    signal.pause()\nopen(mark, 'w').close()\nprint('first run')\nexit(3)"
    )
    apply(world.cluster, here(cli.namespace, raw_artifact(containers=[world.container("main", script)])))
    apply(world.cluster, here(cli.namespace, raw_workload(template={"terminationGracePeriodSeconds": 1})))
    wait_for(lambda: cli("logs", "chat", code=None).out == "second run\n", "the second run", 120, pause=1)

    assert cli("logs", "chat", "--previous").out == "first run\n"


def test_what_a_failing_container_said_last(world: World, cli: CommandLine) -> None:
    # Nobody answers the probe: without one each run would be ready, and its Workload running, for a moment.
    probe = {"path": "/ready", "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 2}
    failing = world.container("main", "print('last words'); exit(3)", readinessProbe=probe)
    apply(world.cluster, here(cli.namespace, raw_artifact(containers=[failing])))
    apply(world.cluster, here(cli.namespace, raw_workload()))

    failed = cli("wait", "chat", "--timeout=140s", code=1)

    assert "workload/chat is errored" in failed.err
    assert "last words" in failed.err
    assert "Last lines of the failing container\n  last words\n" in cli("describe", "chat").out


def test_invoke(chat: CommandLine) -> None:
    answer = json.loads(chat("invoke", "chat", "/v1/models?limit=2").out)
    assert answer["path"] == "/v1/models?limit=2"
    assert "authorization" not in answer["headers"], "the API server keeps the credentials"

    posted = json.loads(chat("invoke", "workload/chat", "/x", "-d", '{"a": 1}').out)
    assert posted == {"method": "POST", "type": "application/json", "body": '{"a": 1}'}
    put = chat("invoke", "chat", "/x", "-X", "put", "-H", "Content-Type: text/plain", "-d", "@-", "-i", input="plain")
    assert json.loads(put.out) == {"method": "PUT", "type": "text/plain", "body": "plain"}
    assert put.err.startswith("HTTP 200\n")

    missing = chat("invoke", "chat", "/missing", code=1)
    assert json.loads(missing.out) == {"detail": "no such thing"}
    assert missing.err == "roadstead: workload/chat answered 404.\n"

    with chat.running("invoke", "chat", "/stream") as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == "part0"
        first = time.monotonic()
        assert process.stdout.read() == "part1"
        assert time.monotonic() - first > STREAM_SECONDS / 2, "the first part didn't wait for the second"

    chat("stop", "chat")
    chat("wait", "chat", "--for=state=stopped")
    assert "No pod of workload/chat answers: Stopped" in chat("invoke", "chat", code=1).err


def test_top(chat: CommandLine) -> None:
    def measured() -> list[str] | None:
        row = chat("top").rows[1]
        return row if row[:4] == ["chat", "running", "2/2", "0"] and row[4] != "?" and row[6] != "0Mi" else None

    row = wait_for(measured, "figures of metrics-server", 120, pause=2)

    assert (row[4][-1], row[5][-1], row[6][-2:], row[7][-1]) == ("m", "%", "Mi", "%")
