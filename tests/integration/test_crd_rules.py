"""Every CEL rule, at every place that has it: what it lets pass, what it refuses, and the sentence that a person then reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hack.cluster.control import ControlCluster
from roadstead.api.crd import DEFINITIONS
from tests.integration.crd_cases.objects import VARIANTS, Body, Node, change, full, load, nodes, root_schema, schema_paths
from tests.integration.crd_cases.server import Server, Verdict

MODELS = {kind.model.__name__: kind.model for kind in DEFINITIONS}


@dataclass(frozen=True, slots=True)
class Instance:
    """A rule at one of its places."""

    node: Node
    rule: Body

    @property
    def text(self) -> str:
        return str(self.rule.get("message") or self.rule["messageExpression"])

    @property
    def entries(self) -> list[Body]:
        """The table's entries about this rule."""
        return [entry for entry in load("rules.yaml") if entry["rule"] in self.text]

    @property
    def field(self) -> str:
        """Where the API server says the message belongs."""
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.node.steps) + self.rule.get("fieldPath", "")
        return place.removeprefix(".")

    def __str__(self) -> str:
        return f"{self.node}: {self.text[:40]}"


INSTANCES = [
    Instance(node, rule) for variant in VARIANTS for node in nodes(variant) for rule in node.schema.get("x-kubernetes-validations", ())
]


@pytest.fixture(scope="module")
def server(cluster: ControlCluster) -> Iterator[Server]:
    cluster.kubectl("create", "namespace", "crd-rules")
    connection = Server(cluster.kubeconfig, "crd-rules")
    yield connection
    connection.close()


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
            said = [message for _, message in verdict.causes if entry.get("says", entry["rule"]) in message]
            assert not said, f"{example} is refused: {verdict}"
            # Another rule may still refuse it: a container may mount what the Workload lacks, a name may have to be a longer one.
            if verdict.accepted:
                MODELS[verdict.body["kind"]].model_validate(verdict.body)
        for example in entry["refused"]:
            verdict = judged(server, instance, entry, example)
            wanted = example.get("says", entry.get("says", entry["rule"]))
            found = [field for field, message in verdict.causes if message.endswith(wanted)]
            assert any(_same_place(field, instance.field) for field in found), f"{example} at {instance.field}: {verdict}"


def test_most_accepted_examples_are_accepted_as_a_whole(server: Server) -> None:
    """The rule tests only look for their own message; here is what else refuses their good examples, which must be little."""
    refused = set()
    for instance in INSTANCES:
        for entry in instance.entries:
            for example in entry["accepted"]:
                verdict = judged(server, instance, entry, example)
                if not verdict.accepted:
                    refused.add(f"{instance.node}: {example}: {verdict}")
    assert refused == set()


def _same_place(said: str, place: str) -> bool:
    """A key with dots is shown in brackets by the API server, and the root as <nil>."""
    return said == place or (place == "" and said in ("", "<nil>")) or said.replace("[", ".").replace("]", "") == place.replace("[", ".").replace("]", "")
