"""`roadstead certs ensure` on a real API server, with exactly the rights that the chart gives it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.cluster.control import ControlCluster
from roadstead.certificates import DUE, LIFE, dns_names, renewal
from tests.clusters import NAMESPACE, ROOT, rendered_chart

Body = dict[str, Any]
KEDA = "keda"
GATEWAY, SCALER = f"{NAMESPACE}/roadstead-gateway-tls", f"{KEDA}/roadstead-scaler-tls"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def access(cluster: ControlCluster) -> Path:
    """The CronJob's way into the cluster, its namespaces there."""
    cluster.kubectl("create", "namespace", KEDA, check=False)
    kept = [
        body
        for body in rendered_chart("--set", "keda.enabled=true")
        if body["metadata"]["name"] == "roadstead-certs" and body["kind"] != "CronJob"
    ]
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(kept))
    return cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-certs")


@pytest.fixture(autouse=True)
def nothing_there(cluster: ControlCluster) -> Iterator[None]:
    yield
    for key in (GATEWAY, SCALER):
        namespace, name = key.split("/")
        cluster.kubectl("delete", "secret", name, "-n", namespace, "--ignore-not-found")


def ensure(access: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roadstead", "certs", "ensure", "--kubeconfig", str(access), "--keda-namespace", KEDA, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def secret(cluster: ControlCluster, key: str) -> Body:
    namespace, name = key.split("/")
    body: Body = json.loads(cluster.kubectl("get", "secret", name, "-n", namespace, "-o", "json"))
    return body


def data(cluster: ControlCluster, key: str) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in secret(cluster, key)["data"].items()}


def versions(cluster: ControlCluster) -> list[str]:
    return [secret(cluster, key)["metadata"]["resourceVersion"] for key in (GATEWAY, SCALER)]


def put(cluster: ControlCluster, key: str, held: dict[str, bytes]) -> None:
    """Put data in a Secret's place, keys that aren't named taken away."""
    namespace, name = key.split("/")
    encoded: dict[str, str | None] = dict.fromkeys(data(cluster, key))
    encoded |= {entry: base64.b64encode(value).decode() for entry, value in held.items()}
    cluster.kubectl("patch", "secret", name, "-n", namespace, "--type=merge", "-p", json.dumps({"data": encoded}))


def test_both_are_made_once_and_then_left_alone(cluster: ControlCluster, access: Path) -> None:
    first = ensure(access)
    assert first.returncode == 0, first.stderr
    gateway, scaler = data(cluster, GATEWAY), data(cluster, SCALER)
    before = versions(cluster)

    second = ensure(access)

    assert second.returncode == 0, second.stderr
    assert versions(cluster) == before
    assert second.stdout.count("may stay as it is") == 2
    assert scaler == {"ca.crt": gateway["ca.crt"], "tls.crt": gateway["client.crt"], "tls.key": gateway["client.key"]}
    assert not [line for line in (first.stdout + first.stderr).splitlines() if "PRIVATE" in line]


def test_a_renewal_is_staged_then_used_and_kedas_copy_follows(cluster: ControlCluster, access: Path) -> None:
    assert ensure(access).returncode == 0
    names = dns_names(NAMESPACE, "roadstead-gateway", "roadstead-gateway-peers")
    now = datetime.now(UTC)
    old = renewal(None, names, now - LIFE + DUE - timedelta(days=1))
    assert old is not None
    put(cluster, GATEWAY, old.data)

    assert ensure(access).returncode == 0
    staged = data(cluster, GATEWAY)
    assert staged["tls.crt"] == old.data["tls.crt"]
    assert data(cluster, SCALER)["ca.crt"] == staged["ca.crt"] != old.data["ca.crt"]

    late = renewal(None, names, now - LIFE + timedelta(days=1))
    assert late is not None
    put(cluster, GATEWAY, {**staged, **late.data, "ca.crt": staged["ca.crt"] + late.data["ca.crt"]})
    assert ensure(access).returncode == 0
    assert data(cluster, GATEWAY)["tls.crt"] == staged["next-tls.crt"]
    assert not [name for name in data(cluster, GATEWAY) if name.startswith("next-")]
    assert data(cluster, SCALER)["tls.crt"] == staged["next-client.crt"]


def test_a_copy_that_went_is_made_again_from_the_same_pair(cluster: ControlCluster, access: Path) -> None:
    assert ensure(access).returncode == 0
    before = data(cluster, SCALER)
    cluster.kubectl("delete", "secret", "roadstead-scaler-tls", "-n", KEDA)

    assert ensure(access).returncode == 0
    assert data(cluster, SCALER) == before


def test_what_somebody_else_made_is_never_overwritten(cluster: ControlCluster, access: Path) -> None:
    cluster.kubectl("create", "secret", "generic", "roadstead-gateway-tls", "-n", NAMESPACE, "--from-literal=tls.crt=mine")

    done = ensure(access)

    assert done.returncode == 1
    assert "was not made by `roadstead certs ensure`" in done.stderr
    assert data(cluster, GATEWAY) == {"tls.crt": b"mine"}


def test_it_may_touch_no_other_secret(cluster: ControlCluster, access: Path) -> None:
    done = ensure(access, "--secret", "another")

    assert done.returncode == 1
    assert "another" in done.stderr
    for verb, name in (("create", "another"), ("get", "another"), ("list", ""), ("delete", "roadstead-gateway-tls")):
        target = f"secrets/{name}" if name else "secrets"
        user = f"--as=system:serviceaccount:{NAMESPACE}:roadstead-certs"
        assert cluster.kubectl("auth", "can-i", verb, target, "-n", NAMESPACE, user, check=False).strip() == "no", (verb, name)


def test_a_missing_namespace_is_told(cluster: ControlCluster) -> None:
    done = ensure(cluster.kubeconfig, "--keda-namespace", "nowhere")

    assert done.returncode == 1
    assert "There is no namespace nowhere" in done.stderr
