"""The REST API does what its OpenAPI document says: Schemathesis tries everything that the document allows, and much that it doesn't."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import ROOT
from tests.conftest import LONG
from tests.support.rest import Served, account, groups

Body = dict[str, Any]
SEED = 241
MORE = ["--max-examples=200"] if LONG else []
"""Else what schemathesis.toml says."""
pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(3000 if LONG else 600)]


def test_schemathesis_finds_nothing(cluster: ControlCluster, api: Served, namespace: str, tmp_path: Path) -> None:
    """All phases and all checks over all operations, along the links from what was made, too; as editors of two namespaces, of whom neither
    may see what is the other's: one check asks for each object as the other one."""
    other = f"{namespace}-other"
    cluster.kubectl("create", "namespace", other)
    tokens = {home: account(cluster, home, "editor", "roadstead-edit") for home in (namespace, other)}
    logins = tmp_path / "logins.json"  # in the form of Web Fuzzing Commons
    headers = {home: f"Bearer {token}" for home, token in tokens.items()}
    users = [{"name": home, "fixedHeaders": [{"name": "Authorization", "value": value}]} for home, value in headers.items()]
    logins.write_text(json.dumps({"auth": users}))
    settings = tmp_path / "schemathesis.toml"
    peers = f'[auth.wfc]\npath = "{logins}"\npeers = {json.dumps(list(tokens))}\n'
    settings.write_text(f"{(ROOT / 'schemathesis.toml').read_text()}\n{peers}")
    program = [str(Path(sys.executable).with_name("schemathesis")), f"--config-file={settings}", "run"]
    command = [*program, f"{api.url}/api/v2/openapi.json", "--checks=all", f"--seed={SEED}", "--no-color", *MORE]
    served = httpx.post(
        f"{api.url}/api/v2/console/workloads/",
        headers={"Authorization": headers[namespace]},
        json={"artifact": {"status": "registered", "spec": groups()}},
    ).json()
    environment = {**os.environ, "ROADSTEAD_WORKLOAD": served["id"]}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    cluster.kubectl("delete", "namespace", other, "--wait=false")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    operations = re.search(r"Operations: +(\d+) selected / (\d+) total", done.stdout)
    links = re.search(r"API Links: +(\d+) covered", done.stdout)
    assert operations is not None
    assert operations[1] == operations[2]
    assert links is not None
    assert int(links[1]) > 0
    assert all(f"✅  {phase}" in done.stdout for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"))
    assert "Traceback" not in api.log.read_text()


def test_every_link_leads_somewhere(client: httpx.Client) -> None:
    """Chance decides which links Schemathesis walks; here it is all of them, each from a new object, with the document's own examples."""
    document = client.get("/openapi.json").json()
    operations = {
        operation["operationId"]: (method, path.removeprefix("/api/v2"), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }

    def call(name: str, id: str = "", body: Body | None = None) -> Body:
        method, path, operation = operations[name]
        example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        answer = client.request(method.upper(), path.format(id=id), json=body or example)
        assert answer.status_code < 300, (name, answer.text)
        assert str(answer.status_code) in operation["responses"]
        return dict(answer.json()) if answer.content else {}

    def made(name: str) -> str:
        """A new object by the example; a deployment's names a workload that isn't there."""
        body = {"name": "whoami", "workloadId": made("createWorkload")} if name == "createDeployment" else None
        return str(call(name, body=body)["id"])

    walked = 0
    for name, (_, _, operation) in operations.items():
        for link in operation["responses"].get("201", {}).get("links", {}).values():
            id = made(name)
            body = {field: id if value == "$response.body#/id" else value for field, value in link.get("requestBody", {}).items()}
            call(link["operationId"], id if "parameters" in link else "", body)
            walked += 1
    assert walked == 14
