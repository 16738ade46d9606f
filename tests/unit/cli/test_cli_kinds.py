"""How objects are named on the command line."""

from __future__ import annotations

import pytest
import typer

from roadstead.cli.connection import path_of
from roadstead.cli.failure import Failure
from roadstead.cli.kinds import ARTIFACT, DEPLOYMENT, KINDS, WORKLOAD, Kind, Selection, Target, one_target, selections, targets


@pytest.mark.parametrize(
    ("words", "default", "expected"),
    [
        (["workload/chat"], None, [Target(WORKLOAD, "chat")]),
        (["rsw/chat", "rsa/model"], None, [Target(WORKLOAD, "chat"), Target(ARTIFACT, "model")]),
        (["Workloads", "chat", "bot"], None, [Target(WORKLOAD, "chat"), Target(WORKLOAD, "bot")]),
        (["deployment", "front"], None, [Target(DEPLOYMENT, "front")]),
        (["deployments.roadstead.dev/front"], None, [Target(DEPLOYMENT, "front")]),
        (["workload.v1alpha1.roadstead.dev", "chat"], None, [Target(WORKLOAD, "chat")]),
        (["chat", "bot"], WORKLOAD, [Target(WORKLOAD, "chat"), Target(WORKLOAD, "bot")]),
        (["chat", "deployment/front"], WORKLOAD, [Target(WORKLOAD, "chat"), Target(DEPLOYMENT, "front")]),
        (["workload", "workload"], WORKLOAD, [Target(WORKLOAD, "workload")]),
        (["chat", "chat"], WORKLOAD, [Target(WORKLOAD, "chat")]),
    ],
)
def test_targets(words: list[str], default: Kind | None, expected: list[Target]) -> None:
    assert list(targets(words, default=default)) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name at least one object"),
        (["workload"], "workload/NAME"),
        (["chat"], "none of our kinds: artifacts (rsa), workloads (rsw), deployments (rsd)"),
        (["pod/chat"], "'pod' is none of our kinds"),
        (["workload/"], "not of the form kind/name"),
        (["workload/a/b"], "not of the form kind/name"),
        (["workload/a", "b"], "write it so too"),
        (["workload", ""], "'' can't be a name"),
        (["workload/.."], "'..' can't be a name"),
        (["workload", "."], "'.' can't be a name"),
        (["workload/Chat"], "'Chat' can't be a name"),
    ],
)
def test_what_names_no_object_says_how_to(words: list[str], said: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        targets(words)

    assert said in caught.value.message


def test_a_command_of_one_kind_refuses_another() -> None:
    with pytest.raises(typer.BadParameter, match="artifact/model won't do: this command takes a workload"):
        targets(["artifact/model"], allowed=(WORKLOAD,))
    with pytest.raises(typer.BadParameter, match="one object at a time; got workload/a, workload/b"):
        one_target(["a", "b"], default=WORKLOAD)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["workloads"], [Selection(WORKLOAD)]),
        (["rsw,rsa"], [Selection(WORKLOAD), Selection(ARTIFACT)]),
        (["all"], [Selection(kind) for kind in KINDS]),
        (["workload", "b", "a", "b"], [Selection(WORKLOAD, ("b", "a"))]),
        (["workload/a", "artifact/m", "workload/b"], [Selection(WORKLOAD, ("a", "b")), Selection(ARTIFACT, ("m",))]),
    ],
)
def test_selections(words: list[str], expected: list[Selection]) -> None:
    assert list(selections(words)) == expected


def test_names_in_several_kinds_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match="write kind/name for each"):
        selections(["rsw,rsa", "chat"])


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_no_path_means_more_than_one_object(name: str) -> None:
    """`DELETE …/workloads/` would delete them all."""
    with pytest.raises(Failure, match="can't be a name"):
        path_of(WORKLOAD.resource, "ns", name)
    with pytest.raises(Failure, match="can't be a name"):
        path_of(WORKLOAD.resource, name, "chat")


def test_a_name_cannot_lead_elsewhere() -> None:
    assert path_of(WORKLOAD.resource, "ns", "a/../b?c").endswith("/namespaces/ns/workloads/a%2F..%2Fb%3Fc")
