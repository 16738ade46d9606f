"""An Envoy that hangs for a while, with its connection open, while there is much to tell it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable
from typing import Any

import pytest

from roadstead.gateway.envoy.ads import ENDPOINTS
from roadstead.gateway.envoy.resources import assignment
from tests.support.lone_envoy import CLUSTER, HOST, Echo, lone_envoy

MIB = 1_048_576
CHANGES = 100
"""Of a MiB each: more than Envoy's window and all that is between."""


async def test_it_is_told_what_is_and_not_all_that_was(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with lone_envoy() as envoy:
        await envoy.pods((HOST, 9))
        address = await envoy.listen(Echo())
        told, news = 0, envoy.store.news

        def counted(*args: Any) -> Iterable[Any]:
            nonlocal told
            found = news(*args)
            told += len(found)
            return found

        monkeypatch.setattr(envoy.store, "news", counted)
        envoy.process.send_signal(signal.SIGSTOP)
        try:
            for change in range(CHANGES):
                bulky = assignment(CLUSTER, [(HOST, 10 + change)])
                bulky.endpoints[0].lb_endpoints[0].metadata.filter_metadata["bulk"].update({"bulk": "x" * MIB})
                envoy.store.put(ENDPOINTS, CLUSTER, bulky)
                await asyncio.sleep(0.02)
            envoy.store.put(ENDPOINTS, CLUSTER, assignment(CLUSTER, [address]))
            assert 3 <= told < CHANGES / 2
        finally:
            envoy.process.send_signal(signal.SIGCONT)
        await envoy.store.acknowledged(ENDPOINTS, CLUSTER)
        assert (await envoy.get()).status == 200
        assert caplog.messages == []
