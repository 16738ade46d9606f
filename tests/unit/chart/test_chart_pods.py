"""The chart's pods: restricted, of one image, and started by commands that the command line takes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import roadstead
from roadstead.cli.main import app
from roadstead.settings import ApiSettings, GatewaySettings, Settings
from tests.unit.chart.rendering import CERTS, KEDA, Body, named, objects, pod_specs


def test_pods_satisfy_restricted_with_a_read_only_root(defaults: list[Body]) -> None:
    specs = list(pod_specs(defaults))
    assert len(specs) == 6
    for spec in specs:
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for volume in spec.get("volumes", ()):
            assert set(volume) - {"name"} <= {"emptyDir", "secret", "projected"}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(
    ("flags", "image"),
    [
        ((), f"ghcr.io/roadstead/roadstead:{roadstead.__version__}"),
        (("--set", "image.tag=v2"), "ghcr.io/roadstead/roadstead:v2"),
        (("--set", f"image.tag=v2,image.digest=sha256:{'a' * 64}"), f"ghcr.io/roadstead/roadstead@sha256:{'a' * 64}"),
    ],
)
def test_digest_wins_over_tag_over_version(flags: tuple[str, ...], image: str) -> None:
    assert {container["image"] for spec in pod_specs(objects(*flags)) for container in spec["containers"]} == {image}


def environment_of(container: Body) -> dict[str, str]:
    return {entry["name"]: entry.get("value") or f"value of {entry['valueFrom']['fieldRef']['fieldPath']}" for entry in container["env"]}


def started(deployment: Body) -> dict[str, int]:
    """Run the command of the only container, in its environment; returns its ports."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("ROADSTEAD_")}
    environment |= environment_of(container)
    result = CliRunner().invoke(app, container["args"], env=environment)
    assert result.exit_code == 0, result.output
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def test_operator_command_is_one_that_the_operator_takes(full: list[Body], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr("roadstead.operator.main.run", seen.append)

    ports = started(named(full, "Deployment", "roadstead-operator"))

    assert seen == [
        Settings(
            namespace="value of metadata.namespace",
            identity="value of metadata.name",
            log_format="text",
            log_level="DEBUG",
            workers=4,
            health_port=ports["health"],
            metrics_port=ports["metrics"],
        )
    ]


def test_the_apis_command_is_one_that_it_takes(full: list[Body], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ApiSettings] = []
    monkeypatch.setattr("roadstead.rest.server.run", seen.append)

    ports = started(named(full, "Deployment", "roadstead-api"))

    assert seen == [
        ApiSettings(
            namespace="value of metadata.namespace",
            default_namespace="models",
            log_format="text",
            log_level="DEBUG",
            port=ports["http"],
            health_port=ports["health"],
            metrics_port=ports["metrics"],
            requests_per_second=5,
            burst=10,
            trusted_proxies=("10.0.0.0/8",),
            gateway="roadstead-gateway-peers.roadstead-system.svc:18001",
            certificates=Path("/certificates"),
            prometheus="https://prometheus.example.test/under/it",
            prometheus_token_file=Path("/prometheus/token"),
            prometheus_ca_file=Path("/prometheus/ca.crt"),
            prometheus_labels=(("cluster", 'a "b" c'),),
        )
    ]


def test_the_gateways_command_is_one_that_it_takes(full: list[Body], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[GatewaySettings] = []
    monkeypatch.setattr("roadstead.gateway.server.run", seen.append)

    ports = started(named(full, "Deployment", "roadstead-gateway"))

    assert seen == [
        GatewaySettings(
            namespace="value of metadata.namespace",
            identity="value of metadata.name",
            log_format="text",
            log_level="DEBUG",
            health_port=ports["health"],
            metrics_port=ports["metrics"],
            peer_port=ports["peer"],
            peer_authoriser_port=ports["authoriser"],
            scaler_port=ports["scaler"],
            certificates=Path("/certificates"),
            peer_service="roadstead-gateway-peers",
            state=Path("/state"),
            drain_limit_seconds=7170,
        )
    ]


def test_envoys_bootstrap_is_made_by_a_command_that_exists(full: list[Body], tmp_path: Path) -> None:
    bootstrap, envoy = named(full, "Deployment", "roadstead-gateway")["spec"]["template"]["spec"]["initContainers"]
    (out,) = (part for part in bootstrap["args"] if part.startswith("--out="))
    assert envoy["args"][:2] == ["-c", out.partition("=")[2]]
    args = [f"--out={tmp_path / 'envoy.json'}" if part == out else part for part in bootstrap["args"]]

    result = CliRunner().invoke(app, args, env=environment_of(bootstrap))

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "envoy.json").read_text())["static_resources"]


@pytest.mark.parametrize("component", ["operator", "api", "gateway"])
def test_selector_holds_nothing_that_a_version_changes(defaults: list[Body], component: str) -> None:
    deployment = named(defaults, "Deployment", f"roadstead-{component}")

    assert deployment["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "roadstead",
        "app.kubernetes.io/instance": "roadstead",
        "app.kubernetes.io/component": component,
    }


@pytest.mark.parametrize("name", CERTS)
def test_the_command_that_makes_certificates_is_one_that_exists(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (spec,) = pod_specs([body for body in objects(*KEDA) if body["metadata"]["name"] == name])
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    result = CliRunner().invoke(app, spec["containers"][0]["args"], env={"ROADSTEAD_KUBECONFIG": str(tmp_path / "missing")})

    assert (result.exit_code, result.output.partition(":")[0]) == (1, "roadstead")
    assert "missing does not exist" in result.output
