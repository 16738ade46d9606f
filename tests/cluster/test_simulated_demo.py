"""The demo on a machine that can't run containers: pods are pretended, but the operator and the API are real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import demo, simulated
from hack.cluster.everyday import Engine, Everyday


@pytest.fixture
def everyday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Everyday]:
    """A control tier whose state is not the user's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield Everyday(Engine.SIMULATED, simulated.up().kubeconfig)
    simulated.down()


def test_the_example_runs_and_is_there_over_rest(everyday: Everyday, capsys: pytest.CaptureFixture[str]) -> None:
    references = demo.deliver(everyday)
    api = demo.install(everyday, references)
    demo.apply_example(everyday, references.whoami)
    demo.wait_running(everyday)
    capsys.readouterr()
    demo.show_over_rest(everyday, api)
    command, _, answer = capsys.readouterr().out.partition("\n")
    assert command.startswith('$ curl -sS -H "Authorization: Bearer $(kubectl create token demo)" http://127.0.0.1:')
    assert {"name": "Who am I", "status": "running"}.items() <= json.loads(answer).items()
