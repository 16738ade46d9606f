"""When the API says that it is ready."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roadstead.kube.resource import PODS
from roadstead.lag import LoopLag
from roadstead.rest.health import Health


@pytest.mark.parametrize(
    ("filled", "listens", "leaving", "problem"),
    [
        (False, False, False, "caches are being filled"),
        (True, False, False, "about to listen"),
        (True, True, False, None),
        (True, True, True, "about to end"),
    ],
)
def test_ready_is_who_takes_requests(filled: bool, listens: bool, leaving: bool, problem: str | None) -> None:
    """A Service sends requests to a pod as soon as it says so."""
    reflector = SimpleNamespace(resource=PODS, present=True, last_heard=time.monotonic(), last_failed=0.0)
    cache = SimpleNamespace(filled=filled, reflectors=[reflector])
    health = Health(cast(Any, cache), LoopLag(lambda _: None), lambda: listens)
    health.leaving = leaving

    assert health.unready() == problem
