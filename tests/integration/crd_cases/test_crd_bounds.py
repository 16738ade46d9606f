"""Every enum, length, count, number and required field of the CRDs: the API server lets the outermost value pass and refuses the next.

The pairs are made from the committed schema (crd_cases/bounds.py) on objects that have every field (crd_cases/full_*.yaml), so a new
field is tested by being in one of these files, and a test here fails as long as it is not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.crd_cases.bounds import EXEMPT, Bound, bounds
from tests.integration.crd_cases.objects import VARIANTS, full, nodes, put, root_schema, schema_paths
from tests.integration.crd_cases.server import MODELS, Server, Verdict

BOUNDS = [bound for variant in VARIANTS for bound in bounds(variant)]


@pytest.fixture(scope="module", autouse=True)
def stored(server: Server) -> Iterator[None]:
    """The full objects, there for their status to be applied."""
    made = [full(variant) for variant in VARIANTS if variant != "inline"]
    for body in made:
        assert server.apply(body, dry_run=False).accepted
    yield
    for body in made:
        server.delete(body)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_full_object_is_accepted_and_comes_back_as_it_was(server: Server, variant: str) -> None:
    body = full(variant)
    body["metadata"]["name"] = "default" if variant == "platform" else "another"
    verdict = server.apply(body)
    assert verdict.accepted, verdict
    assert verdict.body["spec"] == body["spec"]
    parsed = MODELS[body["kind"]].model_validate(verdict.body)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"] == body["spec"]


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "inline"])
def test_the_full_status_is_accepted_and_understood(server: Server, variant: str) -> None:
    body = full(variant)
    verdict = server.apply(body, status=True)
    assert verdict.accepted, verdict
    status = MODELS[body["kind"]].model_validate(verdict.body).model_dump(mode="json", by_alias=True, exclude_none=True)["status"]
    assert status == body["status"]


@pytest.mark.parametrize("kind", list(MODELS))
def test_the_full_objects_have_every_field(kind: str) -> None:
    there = {node.path for variant in VARIANTS if full(variant)["kind"] == kind for node in nodes(variant)}
    assert {path for path, _ in schema_paths(root_schema(kind)) if path not in there} == set()


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_bound(server: Server, bound: Bound) -> None:
    for value in bound.node.schema.get("enum", ()) if bound.name == "enum" else ():
        body = bound.object(lambda body, value=value: put(body, bound.node.steps, value))  # type: ignore[misc]
        assert judged(server, bound, body).accepted, judged(server, bound, body)
    fits = judged(server, bound, bound.object(bound.fits))
    assert fits.accepted, fits
    MODELS[fits.body["kind"]].model_validate(fits.body)
    refused = judged(server, bound, bound.object(bound.exceeds))
    assert not refused.accepted
    assert any(text in refused.message for text in bound.says), refused
    assert str(bound.node.steps[-1] if isinstance(bound.node.steps[-1], str) else bound.node.steps[-2]) in refused.message


def test_exemptions_are_used() -> None:
    assert all(any(node.path == path for variant in VARIANTS for node in nodes(variant)) for _, path in EXEMPT)


def judged(server: Server, bound: Bound, body: dict[str, object]) -> Verdict:
    return server.apply(body, status=bound.node.steps[:1] == ("status",))
