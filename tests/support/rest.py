"""The REST API as a process of its own, and callers with real tokens."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hack.cluster.api import Cluster
from hack.cluster.control import ControlCluster, free_ports
from hack.cluster.processes import answers
from roadstead.rest.v241.models import Stats
from tests.clusters import NAMESPACE, ROOT, wait_for
from tests.support.gateways import FEW_DESCRIPTORS

Body = dict[str, Any]
API_ACCOUNT = "roadstead-api"
IMAGE = "containous/whoami:latest"


@dataclass(frozen=True, slots=True)
class Served:
    """A replica of the API."""

    process: subprocess.Popen[bytes]
    url: str
    health: str
    metrics: str
    log: Path


@contextmanager
def running_api(cluster: Cluster, kubeconfig: Path, *, ready: bool = True, **environment: str) -> Iterator[Served]:
    """``roadstead api`` on this machine. Stopped by SIGTERM at the end, and must end well."""
    port, health, metrics = free_ports(3)
    path = cluster.state / f"api-{port}.log"
    command = [*FEW_DESCRIPTORS, sys.executable, "-m", "roadstead", "api", "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE]
    command += ["--host", "127.0.0.1", "--port", str(port), "--health-port", str(health), "--metrics-port", str(metrics)]
    defaults = {"ROADSTEAD_DRAIN_SECONDS": "0", "ROADSTEAD_REQUESTS_PER_SECOND": "0"}
    with path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), **defaults, **environment},
        )
    served = Served(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health}", f"http://127.0.0.1:{metrics}", path)
    try:
        if ready:
            wait_for(lambda: process.poll() is not None or answers(f"{served.health}/readyz"), "the API to be ready", 60)
            if process.poll() is not None:
                raise AssertionError(f"the API ended with {process.returncode}:\n{path.read_text()[-4000:]}")
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the API did not stop within 40 s of SIGTERM") from None


def client_of(served: Served, token: str, **headers: str) -> httpx.Client:
    """A client that bears the token."""
    return httpx.Client(base_url=f"{served.url}/api/v2", headers={"Authorization": f"Bearer {token}", **headers}, timeout=60)


def statistics_of(client: httpx.Client, id: str, **query: str) -> dict[str, Any]:
    """What the API tells of a deployment, in the contract's shape; slow is what takes more than 200 ms."""
    answer = client.get(f"/console/deployments/{id}/stats/", params={"slowRequestsThreshold": "200", **query})
    assert answer.status_code == 200, answer.text
    Stats.model_validate_json(answer.content, by_alias=True, by_name=False)
    return dict(answer.json())


def api_access(cluster: Cluster) -> Path:
    """The way into a cluster with exactly the rights that the chart gives the API; ``install_rbac`` has brought them."""
    return cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:{API_ACCOUNT}", ("system:serviceaccounts", "system:authenticated"))


def account(cluster: Cluster, namespace: str, name: str, role: str | None = None, *, within: str | None = None) -> str:
    """A service account, bound to that ClusterRole in a namespace. Returns a token for the API server."""
    cluster.kubectl("create", "serviceaccount", name, "-n", namespace, check=False)
    if role is not None:
        binding = f"{name}-{namespace}-{role}"
        cluster.kubectl(
            *("create", "rolebinding", binding, "-n", within or namespace), f"--clusterrole={role}", f"--serviceaccount={namespace}:{name}"
        )
    return token(cluster, namespace, name)


def token(cluster: Cluster, namespace: str, name: str, *flags: str) -> str:
    """A token of a service account, as TokenRequest gives it."""
    return cluster.kubectl("create", "token", name, "-n", namespace, *flags).strip()


def expired(cluster: ControlCluster, since_seconds: float = 60) -> str:
    """A token (default/default's) of the cluster's own making, but for the time in it; with less than no seconds it expires later."""
    key = load_pem_private_key(next(cluster.state.rglob("service-account.key")).read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    good = cluster.kubectl("create", "token", "default", "-n", "default").strip()
    head, payload, _ = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in good.split("."))
    claims = {**json.loads(payload), "exp": int(time.time() - since_seconds)}
    signed = ".".join(_b64(part) for part in (head, json.dumps(claims).encode()))
    r, s = decode_dss_signature(key.sign(signed.encode(), ECDSA(hashes.SHA256())))
    return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def container(**fields: Any) -> Body:
    """The least that a client sends."""
    return {"imageUri": IMAGE, "resourceRequest": {"cpu": 0.1, "memory": 67108864}, **fields}


def groups(*containers: Body) -> Body:
    """``spec`` of an artifact."""
    return {"containerGroups": [{"containers": list(containers) or [container()]}]}


def wanted(name: str = "whoami", **fields: Any) -> Body:
    """A workload with an inline artifact."""
    return {"name": name, "artifact": {"name": f"{name}-artifact", "spec": groups()}, **fields}


def stored(cluster: Cluster, plural: str, namespace: str) -> list[Body]:
    """All objects of the kind, as the cluster has them."""
    return list(
        json.loads(cluster.kubectl("get", f"{plural}.roadstead.dev", "-n", namespace, "-o", "json", "--show-managed-fields"))["items"]
    )
