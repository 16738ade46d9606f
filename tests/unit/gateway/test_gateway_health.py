"""What the gateway's readiness probe is told on the way to serving."""

from __future__ import annotations

from roadstead.gateway.admin import Admin
from roadstead.gateway.health import Health
from roadstead.gateway.mirrors import Mirrors
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.lag import LoopLag
from tests.unit.gateway.waking_world import World


async def test_what_is_still_missing_is_said_in_turn() -> None:
    mirrors = Mirrors(ApiClient(ClusterConfig("http://127.0.0.1:1"), user_agent="test"), World().directory, "roadstead-system", "peers")
    async with Admin(1) as nobody:
        health = Health(mirrors, nobody, LoopLag())
        assert await health.unready() == "mirrors are being filled"
        for reflector in mirrors.reflectors:
            reflector.synced.set()
        assert "haven't told yet" in (await health.unready() or "")
        health.listening = True
        assert await health.unready() == "Envoy doesn't serve yet"
        health.leaving = True
        assert await health.unready() == "about to end"
