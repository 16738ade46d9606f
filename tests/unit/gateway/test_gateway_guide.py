"""What docs/gateway.md says of defaults and series is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from roadstead.api.platform import Gateway
from roadstead.gateway.metrics import Metrics
from roadstead.gateway.mirrors import Mirrors
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from tests.unit.gateway.waking_world import World

GUIDE = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text()
FIELDS = {field.alias or name: field for name, field in Gateway.model_fields.items()}


def test_its_settings_exist_and_their_defaults_are_those_of_the_platform() -> None:
    named = set(re.findall(r"`platform\.gateway\.(\w+)", GUIDE))
    with_default = {name: int(number.replace(",", "")) for name, number in re.findall(r"`(\w+)` \(([\d,]+)\)", GUIDE)}

    assert named <= set(FIELDS)
    assert {"queuePerWorkload", "queueTotal", "coldStartLimitSeconds", "wakeLimitSeconds", "retrySeconds", "idleTimeoutSeconds"} <= set(
        with_default
    )
    assert with_default == {name: FIELDS[name].default for name in with_default}


async def test_its_table_has_every_series_of_the_process() -> None:
    world, metrics = World(), Metrics()
    client = ApiClient(ClusterConfig("http://127.0.0.1:1"), user_agent="test")
    metrics.watch(Mirrors(client, world.directory, "roadstead-system", "peers"), world.waking, {}, (client,))
    families = list(metrics.registry.collect())
    names = {
        f"{family.name}_total" if family.type == "counter" else f"{family.name}_info" if family.type == "info" else family.name
        for family in families
    }
    table = set(re.findall(r"`([a-z_]+)(?:\{[a-z,]+\})?`", "".join(line for line in GUIDE.splitlines() if line.startswith("| `"))))

    assert {name for name in names if not name.startswith("process_")} == {
        name for name in table if name.startswith(("roadstead_", "rest_"))
    }
    outcomes = {
        sample.labels[label]
        for family in families
        for label in ("outcome", "reason")
        for sample in family.samples
        if label in sample.labels
    }
    assert {outcome for outcome in outcomes if f"`{outcome}`" not in GUIDE} == set()
