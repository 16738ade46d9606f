"""Golden files: for each case under ``cases/`` the exact children under ``expected/``, as readable YAML.

A case holds the custom resources of one Workload, as YAML documents; Platform's spec may be among them, and a document of kind Facts:
``kedaPresent`` (true if absent) and ``proven`` (false if absent: the pods have not been ready for a cooldown yet).
``ROADSTEAD_UPDATE_GOLDEN=1`` writes the expected files anew: read the diff before you commit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from roadstead.api.artifact import Artifact
from roadstead.api.deployment import Deployment
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired import Desired, Inputs, build
from roadstead.desired.pods import containers_of, user_template_digest
from roadstead.errors import Refusal

HERE = Path(__file__).parent
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what the user wrote, typed and raw."""

    name: str
    documents: tuple[Body, ...]

    def inputs(self) -> Inputs:
        by_kind: dict[str, list[Body]] = {}
        for document in self.documents:
            given = document.get("metadata", {"name": "facts"})
            named = {"namespace": "team", "uid": f"uid-{given['name']}", "generation": 1, **given}
            by_kind.setdefault(document["kind"], []).append({**document, "metadata": named})
        workload = Workload.model_validate(by_kind["Workload"][0])
        if workload.spec.artifact is not None:
            inline = workload.spec.artifact.model_dump(by_alias=True, exclude_none=True, mode="json")
            artifact = Artifact.model_validate({**by_kind["Workload"][0], "kind": "Artifact", "spec": inline, "status": None})
        else:
            artifact = Artifact.model_validate(by_kind["Artifact"][0])
        platform = PlatformSpec.model_validate(by_kind["Platform"][0]["spec"]) if "Platform" in by_kind else PlatformSpec()
        facts = by_kind.get("Facts", [{}])[0]
        return Inputs(
            workload,
            artifact,
            platform,
            tuple(Deployment.model_validate(d) for d in by_kind.get("Deployment", [])),
            keda_present=facts.get("kedaPresent", True),
            proven=user_template_digest(workload, containers_of(artifact.spec)) if facts.get("proven") else None,
        )

    @property
    def expected(self) -> Path:
        return HERE / "expected" / f"{self.name}.yaml"


def cases() -> list[Case]:
    """All cases, by name."""
    files = sorted((HERE / "cases").glob("*.yaml"))
    return [Case(file.stem, tuple(d for d in yaml.safe_load_all(file.read_text()) if d)) for file in files]


def rendered(case: Case) -> str:
    """What the case comes to: the replica count's owner and every child; or the refusal."""
    try:
        desired = build(case.inputs())
    except Refusal as refusal:
        return yaml.safe_dump({"refused": str(refusal.reason), "message": refusal.message}, sort_keys=False, width=140)
    head = {"replicas": {"count": desired.replicas.count, "floor": desired.replicas.floor}, "internalUrl": desired.internal_url}
    return yaml.safe_dump_all([head, *bodies(desired)], sort_keys=False, width=140)


def bodies(desired: Desired) -> list[Body]:
    """The children that must exist."""
    return [child.body for child in desired.children.values() if child is not None]
