"""The commands that run for long: every setting has a flag and a variable, and what can't be is refused before anything starts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roadstead.cli.main import app
from roadstead.settings import ApiSettings, GatewaySettings, ProcessSettings, Settings

COMMANDS: dict[str, tuple[type[ProcessSettings], str]] = {
    "api": (ApiSettings, "roadstead.rest.server.run"),
    "gateway": (GatewaySettings, "roadstead.gateway.server.run"),
    "operator": (Settings, "roadstead.operator.main.run"),
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ProcessSettings]:
    """The settings that a process was started with."""
    seen: list[ProcessSettings] = []
    for _, run in COMMANDS.values():
        monkeypatch.setattr(run, seen.append)
    return seen


@pytest.mark.parametrize("command", COMMANDS)
def test_without_flags_it_has_the_documented_defaults(started: list[ProcessSettings], command: str) -> None:
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 0, result.output
    assert started == [COMMANDS[command][0]()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_has_a_variable(started: list[ProcessSettings], command: str) -> None:
    kind, _ = COMMANDS[command]
    others = {"log_format": "json", "log_level": "WARNING", "trusted_proxies": ("10.0.0.0/8", "::1"), "peers": ("a:1", "b:2")}
    others |= {name: Path("/k") for name in ("kubeconfig", "certificates", "state", "prometheus_token_file", "prometheus_ca_file")}
    others |= {"prometheus": "https://prometheus.test/under/it", "prometheus_labels": ("cluster=a=b", "region=")}
    wanted = {}
    for field in fields(kind):
        default = getattr(kind(), field.name)
        wanted[field.name] = others.get(field.name, default + 1 if isinstance(default, int | float) else "other")
    env = {f"ROADSTEAD_{name.upper()}": " ".join(value) if isinstance(value, tuple) else str(value) for name, value in wanted.items()}
    result = CliRunner().invoke(app, [command], env=env)
    assert result.exit_code == 0, result.output
    if "prometheus_labels" in wanted:
        wanted["prometheus_labels"] = (("cluster", "a=b"), ("region", ""))
    assert started == [kind(**wanted)]


@pytest.mark.parametrize(
    "flag",
    [
        "--trusted-proxy=everybody",
        "--port=0",
        "--request-seconds=0",
        "--log-format=xml",
        "--prometheus=prometheus:9090",
        "--prometheus=file:///etc/passwd",
        "--prometheus=http://",
        "--prometheus=http://prometheus:port",
        "--prometheus=http://me:secret@prometheus",
        "--prometheus=http://prometheus?query=1",
        "--prometheus-label=cluster",
        "--prometheus-label=my-cluster=a",
    ],
)
def test_what_makes_no_sense_is_refused(started: list[ProcessSettings], flag: str) -> None:
    result = CliRunner().invoke(app, ["api", flag])
    assert result.exit_code == 2
    assert flag.split("=", maxsplit=1)[0] in " ".join(result.output.split())
    assert started == []
