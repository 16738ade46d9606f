"""The command line as a person uses it, against a real API server and the running operator."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.cluster import binaries
from hack.cluster.certificates import kubeconfig
from hack.cluster.control import ControlCluster, control_cluster
from roadstead.cli.connection import connect, path_of
from roadstead.cli.failure import TIMED_OUT
from roadstead.cli.kinds import WORKLOAD
from roadstead.cli.watching import Watch
from tests.build import raw_artifact, raw_workload
from tests.clusters import ROOT, apply, get, wait_for
from tests.support.commandline import CommandLine
from tests.world import here, patch, pod_uids, wait_state

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]


@pytest.fixture
def cli(cluster: ControlCluster, namespace: str) -> CommandLine:
    return CommandLine(cluster.kubeconfig, namespace)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A folder with an Artifact and a Workload of two replicas."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "1-workload.yaml").write_text(yaml.safe_dump(raw_workload(meta={"name": "chat"}, runtime={"replicaCount": 2})))
    (folder / "2-artifact.yaml").write_text(yaml.safe_dump(raw_artifact(meta={"name": "model"}, displayName="A model")))
    return folder


def test_from_apply_to_the_end(cli: CommandLine, cluster: ControlCluster, manifests: Path) -> None:
    folder = str(manifests)
    assert cli("apply", "-f", folder, "--dry-run=server").out == "artifact/model created (dry run)\nworkload/chat created (dry run)\n"
    assert get(cluster, "rsw", "chat", cli.namespace) is None

    assert cli("apply", "-f", folder).out == "artifact/model created\nworkload/chat created\n"
    assert cli("wait", "chat", "--timeout=60s").out == "workload/chat is running\n"
    assert cli("apply", "-f", folder).out == "artifact/model applied\nworkload/chat applied\n"

    assert cli("get", "rsw").rows[1][:4] == ["chat", "running", "True", "2"]
    assert cli("get", "workload/chat", "-o", "wide").rows[0][-3:] == ["ARTIFACT", "SCALER", "ENDPOINT"]
    assert json.loads(cli("get", "workloads", "chat", "-o", "json").out)["status"]["state"] == "running"
    assert [item["kind"] for item in yaml.safe_load(cli("get", "all", "-o", "yaml").out)["items"]] == ["Artifact", "Workload"]
    assert cli("get", "rsa,rsw", "-o", "name").out == "artifact.roadstead.dev/model\nworkload.roadstead.dev/chat\n"
    assert any(row[:2] == [cli.namespace, "chat"] for row in cli.run("get", "rsw", "-A").rows)
    assert cli("get", "rsw", "-l", "no=such").err.startswith(f'No workloads in namespace "{cli.namespace}"')

    told = cli("describe", "chat").out
    assert told.startswith(f'workload/chat in namespace "{cli.namespace}" is running since')
    for part in ("artifact         model", "http://chat.", "2 of 2 replicas ready", "fake-", "PodsReady", "Normal   Running"):
        assert part in told
    assert "1 Workload: chat" in cli("describe", "artifact", "model").out

    cli("stop", "chat")
    assert cli("wait", "chat", "--for=state=stopped").out == "workload/chat is stopped\n"
    assert "nothing to replace" in cli("restart", "chat").err
    cli("start", "chat")
    cli("wait", "chat", "--for=condition=Ready")
    before = pod_uids(cluster, cli.namespace)
    cli("restart", "chat")
    wait_for(lambda: not set(before.split()) & set(pod_uids(cluster, cli.namespace).split()), "new pods", 60)

    assert cli("register", "model").out == "artifact/model registered as version 1\n"
    draft = yaml.safe_dump(raw_artifact(meta={"name": "model"}, status="draft"))
    assert "start, stop or register set it" in cli("apply", "-f", "-", input=draft, code=1).err
    assert "cannot become a draft again" in cli("apply", "-f", "-", "--force-conflicts", input=draft, code=1).err

    assert "`roadstead restore workload/chat`" in cli("delete", "workload/chat").out
    wait_state(cluster, cli.namespace, "stopped")
    assert "is deleted and stays so" in cli("start", "chat").err
    cli("restore", "workload/chat")
    cli("wait", "chat")
    assert (
        cli("delete", "workload/chat", "artifact/model", "--now").out == "workload/chat deleted for good\nartifact/model deleted for good\n"
    )
    cli("wait", "chat", "--for=delete")
    assert get(cluster, "rsw", "chat", cli.namespace) is None


def test_waiting_ends_at_the_first_errored_and_at_the_time(cli: CommandLine, cluster: ControlCluster) -> None:
    apply(cluster, here(cli.namespace, raw_workload(artifact="missing")))

    began = time.monotonic()
    failed = cli("wait", "chat", "--timeout=100s", code=1)
    assert 'workload/chat is errored: Artifact "missing" does not exist' in failed.err
    assert time.monotonic() - began < 100

    apply(cluster, here(cli.namespace, raw_workload("idle", suspend=True)))
    beside = cli("wait", "idle", "chat", "--timeout=100s", code=1)
    assert beside.err.startswith("roadstead: workload/chat is errored"), "though the first one may still get there"

    late = cli("wait", "chat", "--for=state=stopped", "--timeout=1s", code=TIMED_OUT)
    assert "workload/chat is not stopped after 1s; it is errored: Artifact" in late.err
    assert "does not exist" in cli("wait", "nobody", code=1).err
    assert cli("wait", "nobody", "--for=delete").out == "workload/nobody is gone\n"


def test_a_deployment_and_an_artifact_can_be_waited_for(cli: CommandLine, cluster: ControlCluster) -> None:
    front = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Deployment", "metadata": {"name": "front"}}
    model = raw_artifact(status="registered")
    apply(cluster, here(cli.namespace, model), here(cli.namespace, raw_workload()))
    apply(cluster, here(cli.namespace, {**front, "spec": {"workloadRef": {"name": "chat"}, "importance": "high"}}))

    cli("wait", "deployment/front", "artifact/model", "--for=condition=Ready")

    assert cli("get", "rsd").rows[1][:4] == ["front", "running", "True", "high"]
    assert "importance   high" in cli("describe", "deployment/front").out
    assert cli("delete", "deployment/front").out == "deployment/front deleted for good\n"


def test_watch_prints_what_changes(cli: CommandLine, cluster: ControlCluster) -> None:
    apply(cluster, here(cli.namespace, raw_artifact()), here(cli.namespace, raw_workload()))
    wait_state(cluster, cli.namespace, "running")
    with cli.running("get", "rsw", "-w") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[:2] == ["NAME", "STATE"]
        assert process.stdout.readline().split()[:2] == ["chat", "running"]
        patch(cluster, "rsw", "chat", cli.namespace, suspend=True)
        states: list[str] = []
        while "stopped" not in states:
            states.append(process.stdout.readline().split()[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert set(states) <= {"running", "stopping", "stopped"}


def test_a_version_that_the_server_no_longer_keeps(cli: CommandLine, cluster: ControlCluster) -> None:
    """What a real API server says to a version from before its watch cache: the watch lists again, and tells the difference."""
    apply(cluster, here(cli.namespace, raw_artifact()), here(cli.namespace, raw_workload()))
    wait_state(cluster, cli.namespace, "running")
    watch = Watch(connect(cluster.kubeconfig, None, cli.namespace), path_of(WORKLOAD.resource, cli.namespace), {}, table=True)
    assert [change.metadata["name"] for change in watch.present()] == ["chat"]
    watch.version = "1"
    cluster.kubectl("delete", "rsw", "chat", "-n", cli.namespace)

    change = next(watch.follow(time.monotonic() + 60))

    assert (change.type, change.metadata["name"]) == ("DELETED", "chat")


def test_a_manifest_that_is_wrong_changes_nothing(cli: CommandLine, cluster: ControlCluster, manifests: Path) -> None:
    (manifests / "3.yaml").write_text(yaml.safe_dump(raw_workload(meta={"name": "other"}, replicas=2)))

    refused = cli("apply", "-f", str(manifests), code=1)

    assert "3.yaml: Workload other: spec.replicas: there is no such field" in refused.err
    assert get(cluster, "rsw", "chat", cli.namespace) is None


def test_what_the_api_server_refuses_is_told_and_the_rest_applied(cli: CommandLine, cluster: ControlCluster) -> None:
    both = {
        "autoscaling": {
            "enabled": True,
            "policies": [{"scalingMetric": "cpuAverageUtilization", "target": 50, "minCount": 1, "maxCount": 2}],
        }
    }
    bad = raw_workload(meta={"name": "bad"}, runtime={"replicaCount": 2, **both})
    good = raw_artifact(meta={"name": "model"})

    refused = cli("apply", "-f", "-", input=yaml.safe_dump_all([bad, good]), code=1)

    assert refused.out == "artifact/model created\n"
    assert "standard input, document 1: Workload bad: The object is refused" in refused.err
    assert "replicaCount cannot be set while autoscaling is enabled" in refused.err


def test_fields_of_another_manager(cli: CommandLine, cluster: ControlCluster) -> None:
    """kubectl applied it: our own apply says whose it is, takes it when told to, and a stop says that it will be undone."""
    apply(cluster, here(cli.namespace, raw_artifact()), here(cli.namespace, raw_workload(suspend=False)))

    assert "next apply brings it back" in cli("stop", "chat").err
    manifest = yaml.safe_dump(raw_workload(meta={"name": "chat"}, artifact="other"))
    conflict = cli("apply", "-f", "-", input=manifest, code=1)
    assert 'conflict with "kubectl"' in conflict.err
    assert "--force-conflicts" in conflict.err
    cli("apply", "-f", "-", "--force-conflicts", input=manifest)
    assert (get(cluster, "rsw", "chat", cli.namespace) or {})["spec"]["artifactRef"] == {"name": "other"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["get", "rsw", "nobody"], 1, 'workloads.roadstead.dev "nobody" not found'),
        (["get", "rsw", "nobody", "-w"], 1, "roadstead get workloads -A"),
        (["get", "pods"], 2, "none of our kinds"),
        (["get"], 2, "say what"),
        (["start", "nobody"], 1, "not found"),
        (["logs", "nobody"], 1, "not found"),
        (["restore", "deployment/front"], 2, "this command takes a artifact or workload"),
        (["wait", "chat", "--for=running"], 2, "state=running"),
        (["token"], 1, "--service-account NAME"),
        (["token", "-s", "nobody"], 1, 'serviceaccounts "nobody" not found'),
        (["token", "--duration=5m"], 2, "need --service-account"),
        (["get", "rsw", "--context", "nowhere"], 1, "kubectl config get-contexts"),
        (["invoke", "nobody"], 1, "not found"),
        (["apply", "-f", "none.yaml"], 1, "none.yaml can't be read"),
        (["apply", "-f", "none.yaml", "-o", "wide"], 2, "choose json, yaml or name"),
        (["wait", "artifact/model"], 2, "--for=condition=Ready"),
        (["delete", "workload", "", "--now"], 2, "can't be a name"),
        (["get", "rsw", "-l", "a in b"], 1, "unable to parse requirement"),
    ],
)
def test_failures_say_what_to_do(cli: CommandLine, args: list[str], code: int, said: str) -> None:
    failed = cli(args[0], *args[1:], code=code)

    assert said in " ".join(failed.err.split())
    assert failed.out == ""


def test_who_may_do_nothing_is_told_whom_to_ask(cli: CommandLine, cluster: ControlCluster) -> None:
    eve = CommandLine(cluster.client_kubeconfig("eve"), cli.namespace)

    failed = eve("get", "rsw", code=1)

    assert 'User "eve" cannot list resource "workloads"' in failed.err
    assert "Ask an administrator" in failed.err
    assert "kinds" not in failed.err


def test_a_cluster_whose_certificate_nobody_vouches_for(cli: CommandLine, cluster: ControlCluster, tmp_path: Path) -> None:
    body = yaml.safe_load(cluster.kubeconfig.read_text())
    known = body["clusters"][0]["cluster"]
    for name in ("certificate-authority", "certificate-authority-data"):
        known.pop(name, None)
    doubtful, careless = tmp_path / "doubtful", tmp_path / "careless"
    doubtful.write_text(yaml.safe_dump(body))
    known["insecure-skip-tls-verify"] = True
    careless.write_text(yaml.safe_dump(body))

    assert "certificate verify failed" in CommandLine(doubtful, cli.namespace)("get", "rsw", code=1).err
    assert CommandLine(careless, cli.namespace)("get", "rsw").err == f'No workloads in namespace "{cli.namespace}".\n'


def test_a_viewer_sees_the_catalogue_and_no_stock(cli: CommandLine, cluster: ControlCluster) -> None:
    assert ["h100", "2", "16"] in [row[:3] for row in cli.run("gpus").rows]
    cluster.kubectl("create", "clusterrolebinding", f"view-{cli.namespace}", "--clusterrole=roadstead-view", "--user=vera")
    viewer = CommandLine(cluster.client_kubeconfig("vera"), cli.namespace)

    seen = viewer.run("gpus")

    assert ["h100", "?", "?", "?"] in [row[:4] for row in seen.rows]
    assert "you may not list nodes" in seen.err
    assert "offers no resource bundles" in viewer.run("bundles").err


def test_bundles(cli: CommandLine, cluster: ControlCluster, settings: None) -> None:
    bundle = {"id": "gpu.large", "cpu": 8, "memory": "64Gi", "gpu": 1, "gpuType": "h100"}
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"resourceBundles": [bundle]}}))

    assert cli.run("bundles").rows[1] == ["gpu.large", "8", "64Gi", "1", "h100"]
    assert json.loads(cli.run("bundles", "-o", "json").out) == [bundle]
    assert cli.run("bundles", "-o", "name").out == "gpu.large\n"


def test_a_token_of_a_service_account_is_for_us_alone(cli: CommandLine, cluster: ControlCluster) -> None:
    cluster.kubectl("create", "serviceaccount", "ci", "-n", cli.namespace)

    made = cli("token", "--service-account", "ci", "--duration=20m")
    own = cli("token", "--service-account", "ci", "--audience", str(_claims(made.out)["iss"]))

    assert _claims(made.out)["aud"] == ["roadstead"]
    assert round(_claims(made.out)["exp"] - _claims(made.out)["iat"], -1) == 1200
    assert made.err.startswith("Valid until ")
    as_ci = CommandLine(_kubeconfig(cluster, own.out.strip(), cli.namespace), cli.namespace)
    assert "system:serviceaccount" in as_ci("get", "rsw", code=1).err
    assert as_ci("token").out == own.out
    stranger = CommandLine(_kubeconfig(cluster, made.out.strip(), cli.namespace), cli.namespace)
    assert "doesn't accept your credentials (401)" in stranger("get", "rsw", code=1).err, "a token for us alone is none for the cluster"


def test_as_a_plugin_of_kubectl(cli: CommandLine, cluster: ControlCluster, tmp_path: Path) -> None:
    apply(cluster, here(cli.namespace, raw_artifact()))
    path = f"{_scripts(tmp_path)}:{os.environ['PATH']}"
    kubectl = str(binaries.path_to(binaries.KUBERNETES, "kubectl"))

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([kubectl, *args], env={**cli.environment(), "PATH": path}, capture_output=True, text=True, check=False)

    listed = run("roadstead", "get", "rsa", "-n", cli.namespace, "-o", "name")
    usage = run("roadstead", "get", "--nonsense")
    completed = run("__complete", "roadstead", "describe", "-n", cli.namespace, "artifact/mo")

    assert (listed.returncode, listed.stdout) == (0, "artifact.roadstead.dev/model\n")
    assert usage.returncode == 2
    assert completed.stdout.splitlines() == ["artifact/model", ":4"]


def test_on_a_terminal_it_fits_and_has_colours(cli: CommandLine, cluster: ControlCluster) -> None:
    apply(cluster, here(cli.namespace, raw_workload(artifact="missing")))
    wait_state(cluster, cli.namespace, "errored")

    plain = _on_a_terminal(cli, "get", "rsw", COLUMNS="50", NO_COLOR="1")
    coloured = _on_a_terminal(cli, "get", "rsw", COLUMNS="50", TERM="xterm-256color")

    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in plain.splitlines()) == 50
    assert "…" in plain
    assert "\x1b[31merrored" in coloured
    assert "\x1b[31m" not in plain


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlCluster]:
    """A control plane that knows nothing of us."""
    with control_cluster() as running:
        yield running


def test_a_cluster_without_our_kinds_or_that_is_away(bare: ControlCluster) -> None:
    cli = CommandLine(bare.kubeconfig, "default")
    assert "Roadstead isn't installed there" in cli("get", "rsw", code=1).err
    applied = cli.run("crds", "apply")
    assert applied.out.count("is up to date") == 4
    assert cli("get", "rsw").err == 'No workloads in namespace "default".\n'
    assert cli.run("crds", "apply").out == applied.out

    with cli.running("get", "rsw", "-w", "-o", "name") as process:
        apply(bare, here("default", raw_workload(name="before")))
        assert process.stdout is not None
        assert process.stdout.readline() == "workload.roadstead.dev/before\n"
        bare.stop_component("kube-apiserver")
        away = cli("get", "rsw", code=1)
        bare.start_component("kube-apiserver")
        wait_for(bare.ready, "the API server", 60)
        apply(bare, here("default", raw_workload(name="after")))
        assert process.stdout.readline() == "workload.roadstead.dev/after\n", "a watch outlives the API server"
    assert f"The cluster at {bare.url} doesn't answer" in away.err
    assert "kubectl config get-contexts" in away.err


def _claims(token: str) -> dict[str, Any]:
    payload = token.strip().split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def _kubeconfig(cluster: ControlCluster, token: str, name: str) -> Path:
    file = cluster.state / f"token-{name}-{hash(token)}.kubeconfig"
    file.write_text(kubeconfig(cluster.url, cluster.ca_file, name, {"token": token}))
    return file


def _scripts(folder: Path) -> Path:
    """The commands that installing the package makes, as pyproject.toml names them."""
    for name, target in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items():
        module, _, function = target.partition(":")
        script = folder / name
        script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return folder


def _on_a_terminal(cli: CommandLine, verb: str, *args: str, **environment: str) -> str:
    """What a terminal is sent."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "roadstead", verb, "-n", cli.namespace, *args]
    process = subprocess.Popen(command, env={**cli.environment(), **environment}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    sent = b""
    try:
        while chunk := os.read(ours, 4096):
            sent += chunk
    except OSError:  # so Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return sent.decode().replace("\r\n", "\n")
