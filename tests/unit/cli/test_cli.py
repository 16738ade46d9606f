"""The command line: what it answers, how it fails, and what it doesn't import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import roadstead
from roadstead import __version__
from roadstead.cli import crds
from roadstead.cli.failure import Failure, fail
from roadstead.cli.main import app
from roadstead.settings import Settings

SOURCES = Path(roadstead.__file__).parents[1]
HEAVY = ("aiohttp", "kopf", "kubernetes", "pydantic", "rich", "uvloop")


def invoke(*args: str, **environment: str) -> Result:
    cleared: dict[str, str | None] = {name: None for name in os.environ if name.startswith("ROADSTEAD_")}
    return CliRunner().invoke(app, args, env={**cleared, **environment})


def python(*args: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    return subprocess.run([sys.executable, *args], env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the operator was started with."""
    seen: list[Settings] = []
    monkeypatch.setattr("roadstead.operator.main.run", seen.append)
    return seen


def test_version() -> None:
    result = invoke("version")

    assert (result.exit_code, result.output) == (0, f"{__version__}\n")


def test_module_runs_and_imports_nothing_heavy() -> None:
    script = f"import sys, roadstead.cli.main; print([name for name in {HEAVY} if name in sys.modules])"

    assert python("-m", "roadstead", "version") == f"{__version__}\n"
    assert python("-c", script) == "[]\n"


def test_operator_without_flags_has_the_documented_defaults(started: list[Settings]) -> None:
    result = invoke("operator")

    assert result.exit_code == 0, result.output
    assert started == [Settings()]


def test_operator_takes_flags_and_environment(started: list[Settings]) -> None:
    result = invoke("operator", "--log-format=json", "--workers=4", "--kubeconfig=/k", ROADSTEAD_NAMESPACE="ns", ROADSTEAD_IDENTITY="pod-1")

    assert result.exit_code == 0, result.output
    assert started == [Settings(kubeconfig=Path("/k"), namespace="ns", identity="pod-1", log_format="json", workers=4)]


def test_flags_win_over_the_environment(started: list[Settings]) -> None:
    invoke("operator", "--log-level=debug", ROADSTEAD_LOG_LEVEL="error")

    assert started[0].log_level == "DEBUG"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--log-format=xml"], "--log-format"),
        (["--workers=0"], "--workers"),
        (["--lease-seconds=5"], "must be less than"),
    ],
)
def test_operator_refuses_what_makes_no_sense(args: list[str], words: str) -> None:
    result = invoke("operator", *args)

    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_unreachable_cluster_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds, "documents", lambda: ["{metadata: {name: a.example}}"])
    missing = tmp_path / "none"

    result = invoke("crds", "apply", f"--kubeconfig={missing}")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"roadstead: The cluster can't be reached: {missing}")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["print", "apply"])
def test_installation_without_crds_says_so(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds, "documents", list)

    result = invoke("crds", command)

    assert result.exit_code == 1
    assert "carries no CRDs" in result.stderr


def test_crds_print_is_one_yaml_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds, "documents", lambda: ["a: 1\n", "b: 2"])

    assert invoke("crds", "print").output == "a: 1\n---\nb: 2\n"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [([], False), ([("Established", "False")], False), ([("NamesAccepted", "True"), ("Established", "True")], True)],
)
def test_served(conditions: list[tuple[str, str]], expected: bool) -> None:
    crd = {"metadata": {"name": "a"}, "status": {"conditions": [{"type": kind, "status": status} for kind, status in conditions]}}

    assert crds.served(crd) is expected


def test_a_crd_just_made_has_no_conditions() -> None:
    assert crds.served({"metadata": {"name": "a"}, "status": {"conditions": None}}) is False


def test_names_taken_by_another_crd_are_not_waited_for() -> None:
    conditions = [{"type": "NamesAccepted", "status": "False", "message": '"rsw" is already in use'}]

    with pytest.raises(Failure, match='"rsw" is already in use'):
        crds.served({"metadata": {"name": "a"}, "status": {"conditions": conditions}})


def test_fail_ends_with_code_one() -> None:
    with pytest.raises(typer.Exit) as caught:
        fail("No.")

    assert caught.value.exit_code == 1


def test_a_shell_completes_commands_and_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ROADSTEAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "roadstead re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert python("-m", "roadstead").split() == ["restart", "restore", "register"]

    monkeypatch.setenv("COMP_WORDS", "roadstead get ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert python("-m", "roadstead").split() == ["artifacts", "workloads", "deployments"]
