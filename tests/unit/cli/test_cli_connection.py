"""Kubeconfig files as kubectl takes them, by the official client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from roadstead.cli.connection import connect
from roadstead.cli.failure import Failure

CLUSTERS = [{"name": "c", "cluster": {"server": "https://cluster.test/"}}]
CONTEXTS = [
    {"name": "plain", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
    {"name": "bare", "context": {"cluster": "c"}},
]


def kubeconfig(file: Path, **parts: Any) -> Path:
    file.write_text(json.dumps({"current-context": "plain", "contexts": CONTEXTS, "clusters": CLUSTERS, "users": [], **parts}))
    return file


def test_the_current_context_and_another_one(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "k", users=[{"name": "u", "user": {"token": "secret"}}])

    current, other = connect(file, None, None), connect(file, "bare", "elsewhere")

    assert (current.server, current.namespace, current.token()) == ("https://cluster.test", "team", "secret")
    assert (other.namespace, other.token()) == ("elsewhere", None)
    assert connect(file, "bare", None).namespace == "default"


def test_files_of_a_list_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kubeconfig(tmp_path / "first")
    second = kubeconfig(tmp_path / "second", contexts=[], clusters=[], users=[{"name": "u", "user": {"token": "from the second"}}])
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'none'}:{second}")

    assert connect(None, None, None).token() == "from the second"


def test_a_login_plug_in_is_asked(tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fresh"}}
    plug_in = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(json.dumps(answer))})"],
        "interactiveMode": "Never",
    }
    file = kubeconfig(tmp_path / "k", users=[{"name": "u", "user": {"exec": plug_in}}])

    assert connect(file, None, None).token() == "fresh"


@pytest.mark.parametrize(
    ("text", "context", "said"),
    [
        ("", None, "is empty"),
        ("- a list", None, "get-contexts"),
        ("just text", None, "get-contexts"),
        ("{a: b: c}", None, "get-contexts"),
        (json.dumps({"current-context": "plain", "contexts": CONTEXTS, "clusters": [], "users": []}), None, "name c in"),
        (json.dumps({"current-context": "plain", "contexts": CONTEXTS, "clusters": CLUSTERS}), "nowhere", "name nowhere in"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, text: str, context: str | None, said: str) -> None:
    file = tmp_path / "k"
    file.write_text(text)

    with pytest.raises(Failure) as caught:
        connect(file, context, None)

    assert str(caught.value).startswith(f"The cluster can't be reached: {file}")
    assert said in str(caught.value)


def test_a_container_without_a_home_is_told_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(Failure, match=r"~/.kube/config does not exist; name a kubeconfig with --kubeconfig"):
        connect(None, None, None)
