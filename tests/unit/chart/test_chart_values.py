"""The chart's values: wrong ones are refused with their path, and catalogue and schema are those of Platform."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hack.cluster.envoy import ENVOY_VERSION
from hack.cluster.keda import FASTER
from roadstead.api.platform import PlatformSpec
from roadstead.observed.views import GPU_LABELS
from tests.unit.chart.rendering import CHART, HERE, ROOT, objects, run


def test_the_catalogue_is_one_that_a_platform_takes() -> None:
    spec = PlatformSpec.model_validate(yaml.safe_load((CHART / "values.yaml").read_text())["platform"])
    names = [entry.gpu_type for entry in spec.gpu_types or ()]
    labels = [tuple(sorted(alternative.match_labels.items())) for entry in spec.gpu_types or () for alternative in entry.node_labels]

    assert len(names) == len(set(names))
    assert len(labels) == len(set(labels)), "two types are recognised by the same labels"
    assert {label for term in labels for label, _ in term if not label.endswith("-memory")} == set(GPU_LABELS)


def test_the_guides_table_and_examples_are_true() -> None:
    guide = (ROOT / "docs" / "gpu.md").read_text()
    catalogue = PlatformSpec.model_validate(yaml.safe_load((CHART / "values.yaml").read_text())["platform"]).gpu_types or ()
    examples = [entry for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) for entry in yaml.safe_load(block)]

    for entry in catalogue:
        (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{entry.gpu_type}` |")]
        for alternative in entry.node_labels:
            assert all(f"`{value}`" in row for value in alternative.match_labels.values()), row
    assert len(PlatformSpec.model_validate({"gpuTypes": examples}).gpu_types or ()) == 4


def test_the_examples_ask_for_types_of_the_catalogue() -> None:
    known = {entry["gpuType"] for entry in yaml.safe_load((CHART / "values.yaml").read_text())["platform"]["gpuTypes"]}
    asked = re.findall(r"gpuType: (\S+)", "".join(path.read_text() for path in (ROOT / "examples").rglob("*.yaml")))

    assert asked
    assert set(asked) <= known


def test_the_keda_that_is_tested_is_as_fast_as_the_one_that_is_recommended() -> None:
    """Every bench and test of waking runs with ``FASTER``, and pages say with which flags."""
    values = yaml.safe_load((ROOT / "examples" / "keda-values.yaml").read_text())
    said = re.findall(r"--kube-api-[^`]+", "".join(page.read_text() for page in (ROOT / "docs").glob("*.md")))

    assert values["extraArgs"] == {"keda": FASTER, "metricsAdapter": FASTER}
    assert set(said) == {" ".join(f"--{name}={value}" for name, value in FASTER.items())}


def test_the_envoy_that_is_tested_is_the_one_that_is_installed() -> None:
    image = yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]["envoy"]["image"]

    assert image["tag"] == f"distroless-v{ENVOY_VERSION}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("operator.replicas=two", "at '/operator/replicas': got string, want integer"),
        ("operator.replica=3", "at '/operator': additional properties 'replica' not allowed"),
        ("operator.logLevel=loud", "at '/operator/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("image.repository=", "at '/image/repository'"),
        ("imgae.tag=v1", "additional properties 'imgae' not allowed"),
        ("admissionPolicies.images=maybe", "at '/admissionPolicies/images': got string, want boolean"),
        ("platform.gpus=1", "at '/platform': additional properties 'gpus' not allowed"),
        ("priorityClasses.low=none", "at '/priorityClasses/low': got string, want integer"),
        ("metrics.serviceMonitor.interval=often", "at '/metrics/serviceMonitor/interval': 'often' does not match pattern"),
        ("api.prometheus.url=prometheus:9090", "at '/api/prometheus/url': 'prometheus:9090' does not match pattern"),
        ("api.prometheus.url=http://me:secret@prometheus", "at '/api/prometheus/url'"),
        ("api.prometheus.labels.my-cluster=a", "at '/api/prometheus/labels': additional properties 'my-cluster' not"),
        ("imagePullSecrets[0]=mirror", "at '/imagePullSecrets/0': got string, want object"),
    ],
)
def test_wrong_values_are_refused_with_their_path(setting: str, message: str) -> None:
    done = run("template", "roadstead", str(CHART), "--set", setting)

    assert done.returncode != 0
    assert message in done.stderr


MONITORED = "metrics.serviceMonitor.enabled=true,api.prometheus.url=http://prometheus:9090,metrics.serviceMonitor.interval"


@pytest.mark.parametrize(
    ("refused", "message", "taken"),
    [
        ("gateway.service.port=443", "set gateway.service.type to LoadBalancer", "gateway.service.port=443,gateway.service.type=NodePort"),
        (
            "gateway.service.externalTrafficPolicy=Local",
            "set gateway.service.type to LoadBalancer",
            "gateway.service.externalTrafficPolicy=Local,gateway.service.type=LoadBalancer",
        ),
        (
            "api.service.externalTrafficPolicy=Local",
            "set api.service.type to LoadBalancer",
            "api.service.externalTrafficPolicy=Local,api.service.type=LoadBalancer",
        ),
        ("keda.enabled=true,gateway.enabled=false", "keda.enabled needs gateway.enabled", "keda.enabled=true"),
        ("api.ingress.enabled=true", "api.ingress.host must name the host", "api.ingress.enabled=true,api.ingress.host=a.test"),
        (
            "gateway.ingress.enabled=true",
            "gateway.ingress.host must name the host",
            "gateway.ingress.enabled=true,gateway.ingress.host=a.test",
        ),
        (
            "gateway.autoscaling.enabled=true,gateway.autoscaling.maxReplicas=1",
            "gateway.autoscaling.maxReplicas is 1, and gateway.replicas, the fewest, 2",
            "gateway.autoscaling.enabled=true,gateway.autoscaling.maxReplicas=2",
        ),
        (f"{MONITORED}=121s", "metrics.serviceMonitor.interval is 121s", f"{MONITORED}=120s"),
        (f"{MONITORED}=1m60s1ms", "it must be 2m at most", f"{MONITORED}=1m59s900ms"),
        (f"{MONITORED}=1h", "it must be 2m at most", "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.interval=1h"),
    ],
)
def test_what_would_not_take_effect_is_refused_with_what_to_change(refused: str, message: str, taken: str) -> None:
    done = run("template", "roadstead", str(CHART), "--set", refused)

    assert done.returncode != 0
    assert message in done.stderr
    assert objects("--set", taken)


def test_old_clusters_are_refused() -> None:
    done = run("template", "roadstead", str(CHART), "--kube-version", "1.32.9")

    assert done.returncode != 0
    assert ">=1.33" in done.stderr


def test_schema_is_strict_about_what_is_ours() -> None:
    def lax(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False:
                yield path
            for key, value in node.items():
                yield from lax(value, f"{path}/{key}")

    assert not list(lax(json.loads((CHART / "values.schema.json").read_text()), ""))


def test_full_values_leave_no_default() -> None:
    def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from leaves(value, f"{path}.{key}")
        else:
            yield path, node

    given = dict(leaves(yaml.safe_load((HERE / "full-values.yaml").read_text())))
    same = [path for path, value in leaves(yaml.safe_load((CHART / "values.yaml").read_text())) if given.get(path, value) == value]

    unset = [path for path in same if not any(other.startswith(path + ".") for other in given)]
    assert unset == [".api.enabled", ".gateway.enabled"]  # off, there would be nothing to look at


def test_platform_values_are_the_fields_of_the_crd() -> None:
    (crd,) = [
        body for file in (ROOT / "crds").glob("*.yaml") if (body := yaml.safe_load(file.read_text()))["spec"]["names"]["kind"] == "Platform"
    ]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    known = json.loads((CHART / "values.schema.json").read_text())["properties"]["platform"]["properties"]

    assert {name: field["type"] for name, field in known.items()} == {name: field["type"] for name, field in spec["properties"].items()}
