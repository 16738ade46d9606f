"""Every CEL rule, at every place that has it: what it lets pass, what it refuses, and the sentence that a person then reads."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.integration.crd_cases.objects import VARIANTS, Body, Node, change, full, load, nodes, root_schema, schema_paths
from tests.integration.crd_cases.server import MODELS, Server, Verdict


@dataclass(frozen=True, slots=True)
class Instance:
    """A rule at one of its places."""

    node: Node
    rule: Body

    @property
    def text(self) -> str:
        found: str = self.rule.get("message") or self.rule["messageExpression"]
        return found

    @property
    def entries(self) -> list[Body]:
        """The table's entries about this rule."""
        found: list[Body] = [entry for entry in load("rules.yaml") if entry["rule"] in self.text]
        return found

    @property
    def field(self) -> str:
        """Where the API server says the message belongs."""
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.node.steps)
        return (place + str(self.rule.get("fieldPath", ""))).removeprefix(".")

    def __str__(self) -> str:
        return f"{self.node}: {self.text[:40]}"


INSTANCES = [
    Instance(node, rule) for variant in VARIANTS for node in nodes(variant) for rule in node.schema.get("x-kubernetes-validations", ())
]


def test_the_full_objects_have_every_place_that_has_a_rule() -> None:
    tested = {(node.path, full(variant)["kind"]) for variant in VARIANTS for node in nodes(variant)}
    for kind in MODELS:
        ruled = {path for path, schema in schema_paths(root_schema(kind)) if "x-kubernetes-validations" in schema}
        assert not {path for path in ruled if (path, kind) not in tested}


def test_every_entry_of_the_table_is_about_a_rule() -> None:
    texts = [instance.text for instance in INSTANCES]
    assert [entry["rule"] for entry in load("rules.yaml") if not any(entry["rule"] in text for text in texts)] == []


def judged(server: Server, instance: Instance, entry: Body, example: Body) -> Verdict:
    """The verdict on one example; objects that have to be there before it are made and removed."""
    body = full(instance.node.variant)
    base = instance.node.steps
    if "before" not in entry:
        return server.apply(change(body, example, base))
    before = server.apply(change(body, entry["before"], base), dry_run=False)
    assert before.accepted, before
    try:
        return server.apply(change(body, example, base))
    finally:
        server.delete(body)


@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_rule(server: Server, instance: Instance) -> None:
    assert instance.entries, f"rules.yaml has no examples for: {instance.text}"
    assert any(entry["accepted"] for entry in instance.entries)
    assert any(entry["refused"] for entry in instance.entries)
    for entry in instance.entries:
        for example in entry["accepted"]:
            verdict = judged(server, instance, entry, example)
            # One thing may stand in the way: an inline artifact that mounts a volume which the Workload doesn't have under that name.
            assert verdict.accepted or all("mounts a volume" in message for _, message in verdict.causes), f"{example}: {verdict}"
            if verdict.accepted:
                MODELS[verdict.body["kind"]].model_validate(verdict.body)
        for example in entry["refused"]:
            verdict = judged(server, instance, entry, example)
            wanted = example.get("says", entry.get("says", entry["rule"]))
            found = [field for field, message in verdict.causes if message.endswith(wanted)]
            assert any(_same_place(field, instance.field) for field in found), f"{example} at {instance.field}: {verdict}"


def _same_place(said: str, place: str) -> bool:
    """The API server shows a key with dots in brackets, and the root as <nil>."""
    return (said == "<nil>" and place == "") or _plain(said) == _plain(place)


def _plain(path: str) -> str:
    return path.replace("[", ".").replace("]", "")
