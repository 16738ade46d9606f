"""The REST API does what its OpenAPI document says: Schemathesis tries everything that the document allows, and much that it doesn't."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import ROOT
from tests.conftest import LONG
from tests.support.rest import Served, account, groups

SEED = 241
EXAMPLES = 200 if LONG else 12
pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(3000 if LONG else 600)]


def test_schemathesis_finds_nothing(cluster: ControlCluster, api: Served, namespace: str) -> None:
    """All phases and all checks over all operations, as an editor of one namespace; along the links from what was made, too."""
    token = account(cluster, namespace, "editor", "roadstead-edit")
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{api.url}/api/v2/openapi.json", "--checks=all"]
    command += ["--header", f"Authorization: Bearer {token}", f"--seed={SEED}", f"--max-examples={EXAMPLES}", "--no-color"]
    served = httpx.post(
        f"{api.url}/api/v2/console/workloads/",
        headers={"Authorization": f"Bearer {token}"},
        json={"artifact": {"status": "registered", "spec": groups()}},
    ).json()
    environment = {**os.environ, "ROADSTEAD_WORKLOAD": served["id"]}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    operations = re.search(r"Operations: +(\d+) selected / (\d+) total", done.stdout)
    links = re.search(r"API Links: +(\d+) covered / (\d+) selected", done.stdout)
    assert operations is not None
    assert operations[1] == operations[2]
    assert links is not None
    assert links[1] == links[2]
    assert all(f"✅  {phase}" in done.stdout for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"))
    assert "Traceback" not in api.log.read_text()
