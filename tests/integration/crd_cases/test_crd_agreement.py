"""What the API server stores, the types read: odd values at every place; whatever is accepted has to be parsed.

The two check patterns with different engines and numbers with different rules; an object that is stored but can't be read would never
be reconciled.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.crd_cases.objects import VARIANTS, full, nodes, put
from tests.integration.crd_cases.server import MODELS, Server

CHARACTERS = "aZ09-_./: =\n\t\u00a0\u2028é😀\\'\"~A\x7f\x00"
ODD: tuple[Any, ...] = (
    0,
    1,
    -1,
    1.0,
    1.5,
    1e3,
    2**31,
    2**53 + 1,
    1e-9,
    1e300,
    True,
    False,
    None,
    "",
    [],
    {},
    "1",
    "True",
    "1e3",
    "1Ki",
    "+1",
    "١",
)


def texts(count: int) -> Iterator[str]:
    chance = random.Random(5)
    for _ in range(count):
        yield "".join(chance.choice(CHARACTERS) for _ in range(chance.randint(0, 6)))


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_accepted_is_read(server: Server, variant: str, count: int) -> None:
    accepted = 0
    for node in nodes(variant):
        if node.steps[:1] != ("spec",):
            continue
        for value in (*ODD, *(texts(count) if node.schema.get("type") == "string" else ())):
            body = full(variant)
            put(body, node.steps, value)
            verdict = server.create(body)
            if verdict.accepted:
                accepted += 1
                MODELS[body["kind"]].model_validate(verdict.body)
    assert accepted > 0
