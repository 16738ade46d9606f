"""The Helm chart as text: lint, determinism, one version, and what can be switched off.

``ROADSTEAD_UPDATE_GOLDEN=1 pytest tests/unit/chart`` writes the golden file anew.
"""

from __future__ import annotations

import os
import re

import pytest
import yaml

import roadstead
from roadstead.desired.disruption import ORDER, priority_class
from tests.unit.chart.rendering import CHART, FULL, HERE, Body, named, objects, run, template

GOLDEN = HERE / "golden" / "default.yaml"


@pytest.mark.parametrize("flags", [(), FULL], ids=["defaults", "full"])
def test_lint_is_clean(flags: tuple[str, ...]) -> None:
    done = run("lint", "--strict", str(CHART), *flags)

    assert done.returncode == 0, done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]


def test_default_render_is_the_golden_file() -> None:
    rendered = template()
    if os.environ.get("ROADSTEAD_UPDATE_GOLDEN"):
        GOLDEN.write_text(rendered)

    assert rendered == GOLDEN.read_text(), "run ROADSTEAD_UPDATE_GOLDEN=1 pytest tests/unit/chart, and look at what changed"


def test_two_renders_are_equal() -> None:
    assert template(*FULL) == template(*FULL)


def test_templates_call_nothing_that_differs_between_renders() -> None:
    unsteady = re.compile(
        r"\b(genCA|genSignedCert|genSelfSignedCert|genPrivateKey|rand[A-Z]\w*|uuidv4|now|lookup|shuffle|\.Release\.Revision)\b"
    )
    found = {path.name: unsteady.findall(path.read_text()) for path in CHART.rglob("templates/**/*.yaml")}

    assert not {name: calls for name, calls in found.items() if calls}


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["version"] == chart["appVersion"] == roadstead.__version__


def test_without_the_api_nothing_of_it_is_left() -> None:
    assert not [body for body in objects(*FULL, "--set", "api.enabled=false") if body["metadata"]["name"].startswith("roadstead-api")]


def test_the_api_is_found_from_outside_where_asked_for(full: list[Body]) -> None:
    ports = named(full, "Service", "roadstead-api")["spec"]["ports"]
    (rule,) = named(full, "Ingress", "roadstead-api")["spec"]["rules"]
    (route,) = named(full, "HTTPRoute", "roadstead-api")["spec"]["rules"]

    (path,) = rule["http"]["paths"]
    assert [port["name"] for port in ports] == [path["backend"]["service"]["port"]["name"]]
    assert path["path"] == route["matches"][0]["path"]["value"] == "/api/v2"
    assert route["backendRefs"] == [{"name": "roadstead-api", "port": ports[0]["port"]}]


def test_no_load_balancer_is_told_to_ask_for_a_page_that_there_is_none_of(full: list[Body], defaults: list[Body]) -> None:
    public = [port for body in full if body["kind"] == "Service" and body["spec"]["type"] != "ClusterIP" for port in body["spec"]["ports"]]

    assert len(public) == 2
    assert not [port for port in public if "appProtocol" in port]
    assert named(defaults, "Service", "roadstead-api")["spec"]["ports"][0]["appProtocol"] == "http"


def test_a_route_without_a_gateway_is_refused() -> None:
    done = run("template", "roadstead", str(CHART), "--set", "api.httpRoute.enabled=true")

    assert done.returncode != 0
    assert "api.httpRoute.parentRefs must name the Gateways" in done.stderr


def test_no_object_of_the_chart_looks_like_a_child_of_a_workload(full: list[Body]) -> None:
    assert not [body for body in full if body["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "roadstead"]


@pytest.mark.parametrize("face", ["api", "gateway"])
def test_the_notes_warn_of_tokens_in_the_open_and_of_callers_with_one_address(face: str) -> None:
    def warnings(*settings: str) -> list[str]:
        flags = [part for setting in settings for part in ("--set", f"{face}.{setting}")]
        done = run("install", "roadstead", str(CHART), "--dry-run=client", *flags)
        assert done.returncode == 0, done.stderr
        return re.findall(r"^WARNING: (\S+)", done.stdout, re.MULTILINE)

    trusting = {"api": "trustedProxies[0]=10.0.0.0/8", "gateway": "trustedHops=1"}[face]
    assert warnings() == []
    assert warnings("service.type=LoadBalancer") == [f"{face}.service"]
    route = ("httpRoute.enabled=true", "httpRoute.parentRefs[0].name=public")
    ingress = ("ingress.enabled=true", "ingress.host=ai.example.test")
    assert warnings(*ingress, *route) == [f"{face}.ingress", f"{face}.httpRoute"]
    assert warnings(*ingress, *route, trusting) == []
    assert warnings("enabled=false", "service.type=LoadBalancer", "ingress.enabled=true") == []


def test_one_replica_has_no_disruption_budget() -> None:
    kinds = {body["kind"] for body in objects("--set", "operator.replicas=1,api.replicas=1,gateway.replicas=1")}

    assert "PodDisruptionBudget" not in kinds


def test_one_replica_that_an_autoscaler_may_add_to_has_one() -> None:
    flags = ("operator.replicas=1", "api.replicas=1", "gateway.replicas=1", "gateway.autoscaling.enabled=true")
    budgets = [body for body in objects("--set", ",".join(flags)) if body["kind"] == "PodDisruptionBudget"]

    assert [body["metadata"]["name"] for body in budgets] == ["roadstead-gateway"]
    assert budgets[0]["spec"]["maxUnavailable"] == 1, "it never keeps a lone pod on its node"
    single = objects("--set", ",".join((*flags, "gateway.autoscaling.maxReplicas=1")))
    assert "PodDisruptionBudget" not in {body["kind"] for body in single}


def test_priority_classes_are_those_that_importance_names(defaults: list[Body]) -> None:
    classes = {body["metadata"]["name"]: body["value"] for body in defaults if body["kind"] == "PriorityClass"}
    ascending = [priority_class(level) for level in ORDER]

    assert sorted(classes, key=lambda name: classes[name]) == ascending


def test_admission_policies_can_be_switched_off_one_by_one(defaults: list[Body], full: list[Body]) -> None:
    def names(bodies: list[Body]) -> set[str]:
        return {body["metadata"]["name"] for body in bodies if body["kind"].startswith("ValidatingAdmissionPolicy")}

    assert names(defaults) == {"images.roadstead.dev", "deletion.roadstead.dev", "fast-path.roadstead.dev"}
    assert names(objects("--set", "admissionPolicies.images=false")) == {"deletion.roadstead.dev", "fast-path.roadstead.dev"}
    assert names(objects("--set", "gateway.enabled=false")) == {"images.roadstead.dev", "deletion.roadstead.dev"}
    assert names(full) == set()
