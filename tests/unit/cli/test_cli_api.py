"""`roadstead api`: every setting has a flag and a variable, and what can't be is refused before anything starts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roadstead.cli.main import app
from roadstead.settings import ApiSettings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ApiSettings]:
    """The settings that the API was started with."""
    seen: list[ApiSettings] = []
    monkeypatch.setattr("roadstead.rest.server.run", seen.append)
    return seen


def test_without_flags_it_has_the_documented_defaults(started: list[ApiSettings]) -> None:
    result = CliRunner().invoke(app, ["api"])
    assert result.exit_code == 0, result.output
    assert started == [ApiSettings()]


def test_every_setting_has_a_variable(started: list[ApiSettings]) -> None:
    others = {"log_format": "json", "log_level": "WARNING", "trusted_proxies": ("10.0.0.0/8", "::1")}
    others |= {name: Path("/k") for name in ("kubeconfig", "certificates")}
    wanted = {}
    for field in fields(ApiSettings):
        default = getattr(ApiSettings(), field.name)
        wanted[field.name] = others.get(field.name, default + 1 if isinstance(default, int | float) else "other")
    env = {f"ROADSTEAD_{name.upper()}": " ".join(value) if isinstance(value, tuple) else str(value) for name, value in wanted.items()}
    result = CliRunner().invoke(app, ["api"], env=env)
    assert result.exit_code == 0, result.output
    assert started == [ApiSettings(**wanted)]  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", ["--trusted-proxy=everybody", "--port=0", "--request-seconds=0", "--log-format=xml"])
def test_what_makes_no_sense_is_refused(started: list[ApiSettings], flag: str) -> None:
    result = CliRunner().invoke(app, ["api", flag])
    assert result.exit_code == 2
    assert flag.split("=", maxsplit=1)[0] in " ".join(result.output.split())
    assert started == []
