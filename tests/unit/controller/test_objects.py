"""Who hears of a change: the object, and those whom it concerns; and what the indexes say after any changes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Claim, Objects
from tests.build import raw_artifact, raw_workload

OLD, NEW, FRONT = (Key(Kind.WORKLOAD, "team", "old"), Key(Kind.WORKLOAD, "team", "new"), Key(Kind.DEPLOYMENT, "team", "front"))


def endpoint(active: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": "front", "namespace": "team", "uid": "uid-1", "generation": 2}
    return {"metadata": metadata, "spec": {"workloadRef": {"name": "new"}}, "status": {"activeWorkload": active, **more}}


class Ear:
    """Collects the keys that are told, and apart from them those that can wait."""

    def __init__(self) -> None:
        self.told: set[Key] = set()
        self.later: set[Key] = set()
        self.objects = Objects(self.told.add, self.later.add)

    def saw(self, body: dict[str, Any]) -> None:
        self.told.clear()
        self.later.clear()
        self.objects.saw(Kind.DEPLOYMENT, body)


def test_a_switch_told_in_the_status_reaches_the_workload_that_was_left() -> None:
    """Its importance came with the Deployment, so its budget goes."""
    ear = Ear()
    ear.saw(endpoint("old"))
    ear.saw(endpoint("new"))
    assert ear.told == {OLD, NEW, FRONT}


def test_a_platform_concerns_deployments_too() -> None:
    """Their status names the gateway's public URL."""
    ear = Ear()
    ear.saw(endpoint("new"))
    ear.told.clear()
    ear.objects.saw(Kind.PLATFORM, {"metadata": {"name": "default", "uid": "1", "generation": 1}, "spec": {}})
    assert FRONT in ear.told


def test_any_other_status_is_an_echo_that_can_wait() -> None:
    ear = Ear()
    ear.saw(endpoint("old"))
    ear.saw(endpoint("old", state="running"))
    assert (ear.told, ear.later) == (set(), {FRONT})


WORKLOAD = st.builds(
    lambda artifact, suspend, day: (Kind.WORKLOAD, artifact, {"suspend": suspend}, f"2026-11-2{day}T12:00:00Z"),
    st.sampled_from("xyz"),
    st.booleans(),
    st.integers(1, 9),
)
ARTIFACT = st.builds(
    lambda collection, status, version: (Kind.ARTIFACT, collection, {"status": status}, str(version)),
    st.sampled_from("xyz"),
    st.sampled_from(["draft", "registered"]),
    st.integers(0, 9),
)


@given(st.lists(st.tuples(st.sampled_from("abcd"), WORKLOAD | ARTIFACT | st.none())))
def test_the_indexes_are_those_of_what_is_there(changes: list[tuple[str, Any]]) -> None:
    """None takes the objects of that name away."""
    objects = Objects(lambda _: None, lambda _: None)
    present: dict[Key, dict[str, Any]] = {}
    for name, change in changes:
        if change is None:
            for key in [key for key in present if key.name == name]:
                objects.saw(key.kind, present.pop(key), deleted=True)
            continue
        kind, other, spec, mark = change
        key = Key(kind, "team", name)
        body = raw_workload(name, other, **spec) if kind is Kind.WORKLOAD else raw_artifact(name, collection=other, **spec)
        body["metadata"]["creationTimestamp"] = mark
        body["metadata"]["annotations"] = {"roadstead.dev/version": mark}
        objects.saw(kind, body)
        present[key] = body
    workloads = {key: body for key, body in present.items() if key.kind is Kind.WORKLOAD}
    artifacts = [body for body in present.values() if body["spec"].get("status") == "registered"]
    for name in "xyz":
        users = {key: body for key, body in workloads.items() if body["spec"]["artifactRef"]["name"] == name}
        active = {key: body["metadata"] for key, body in users.items() if not body["spec"]["suspend"]}
        claims = [Claim(metadata["creationTimestamp"], metadata["uid"], key) for key, metadata in active.items()]
        numbered = [body["metadata"]["annotations"] for body in artifacts if body["spec"]["collection"] == name]
        assert list(objects.referring_to(Key(Kind.ARTIFACT, "team", name))) == sorted(users)
        assert list(objects.claims(Key(Kind.ARTIFACT, "team", name))) == sorted(claims)
        assert objects.highest_version(("team", name)) == max((int(marks["roadstead.dev/version"]) for marks in numbered), default=0)
