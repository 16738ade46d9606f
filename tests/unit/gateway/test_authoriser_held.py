"""The authoriser's requests that wait for a pod, and its answers other than yes and no."""

from __future__ import annotations

import pytest

from roadstead.access.errors import BAD_TOKEN
from roadstead.api.identity import object_id
from roadstead.gateway import http
from roadstead.gateway.directory import WORKLOAD
from roadstead.gateway.permission import DEFECT
from roadstead.gateway.waking import Answer
from tests.unit.gateway.authoriser_world import KINDS, Gateway, path_of
from tests.unit.gateway.reviewer import wire
from tests.unit.gateway.waking_world import NS, POD, settle
from tests.unit.kube.fake import until


class TestHeld:
    async def test_it_gets_its_answer_with_the_pod(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask(path_of(WORKLOAD), authorization="Bearer editor")
        await until(lambda: gateway.world.waking.total == 1)
        gateway.world.pods(POD)
        said = await connection.hear()
        assert (said.status, said.headers["x-roadstead-cluster"]) == (200, f"w-{object_id(WORKLOAD, NS, 'w')}")
        assert "total=" in said.headers["x-roadstead-cold-start"]

    async def test_who_leaves_is_held_no_longer(self, gateway: Gateway) -> None:
        async with wire(gateway.port) as connection:
            connection.ask(path_of(WORKLOAD), authorization="Bearer editor")
            await until(lambda: gateway.world.waking.total == 1)
        await until(lambda: gateway.world.waking.total == 0)
        assert gateway.world.waking.counts.left == 1

    @pytest.mark.parametrize("role", ["viewer", "stranger", "unknown"])
    async def test_nobody_is_without_the_right(self, gateway: Gateway, role: str) -> None:
        for kind in KINDS:
            assert (await gateway.says(role, path_of(kind))).status in (401, 403, 404)
        assert gateway.world.waking.total == 0
        assert gateway.world.waking.counts.wakes == 0

    async def test_if_the_pod_goes_again_in_the_same_moment_it_waits_on(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask(path_of(WORKLOAD), authorization="Bearer editor")
        await until(lambda: gateway.world.waking.total == 1)
        target = gateway.world.target()
        opened = gateway.world.directory.opened

        def and_gone(found: object) -> None:
            opened(target)
            gateway.world.pods()

        gateway.world.directory.opened = and_gone
        gateway.world.pods(POD)
        await settle()
        gateway.world.directory.opened = opened
        assert gateway.world.waking.total == 1
        gateway.world.pods(POD)
        assert (await connection.hear()).status == 200

    async def test_the_next_request_of_the_connection_waits_its_turn(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask(path_of(WORKLOAD), authorization="Bearer editor")
        connection.ask("/", authorization="Bearer editor")
        connection.ask(path_of(WORKLOAD), authorization="Bearer stranger")
        await until(lambda: gateway.world.waking.total == 1)
        gateway.world.pods(POD)
        assert [(await connection.hear()).status for _ in range(3)] == [200, 404, 404]

    async def test_too_many_of_them_end_the_connection(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        for _ in range(http.MOST_WAITING + 2):
            connection.ask(path_of(WORKLOAD), authorization="Bearer editor")
        assert await connection.over()
        await until(lambda: gateway.world.waking.total == 0)


class TestSaid:
    """In the service's place. That it is meant for the caller tells it from a failure on the way, which Envoy sees as 5xx too."""

    async def test_what_is_stopped_says_so_itself(self, gateway: Gateway) -> None:
        gateway.world.workload(suspended=True, state="stopped", message="Stopped by Ann, größer als nötig")
        said = await gateway.says()
        assert (said.status, said.detail) == (503, "Stopped by Ann, größer als nötig")
        assert (said.headers["x-roadstead-said"], said.headers["content-type"]) == ("true", "application/json")
        assert "x-roadstead-cluster" not in said.headers
        assert gateway.authoriser.answers == {503: 1}

    @pytest.mark.parametrize(("seconds", "told"), [(0.01, b"1"), (12.4, b"12"), (12.6, b"13")])
    def test_seconds_are_told_as_whole_ones(self, seconds: float, told: bytes) -> None:
        assert http.retry_after(seconds) == b"retry-after: " + told

    async def test_to_grpc_the_sentence_is_all(self, gateway: Gateway) -> None:
        gateway.world.workload(suspended=True, state="stopped", message="Größer als nötig")
        connection = await gateway.wire()
        connection.ask(path_of(WORKLOAD), authorization="Bearer editor", x_roadstead_grpc="true")
        connection.ask(path_of(WORKLOAD), authorization="Bearer nobody", x_roadstead_grpc="true")
        stopped, unknown = await connection.hear(), await connection.hear()
        assert (stopped.status, stopped.body.decode()) == (503, "Größer als nötig")
        assert (unknown.status, unknown.body.decode()) == (401, BAD_TOKEN)

    async def test_a_full_queue_is_said_directly(self, gateway: Gateway) -> None:
        most = gateway.world.directory.platform.gateway.queue_per_workload
        held = [gateway.world.waking.decide(gateway.world.target()) for _ in range(most)]
        said = await gateway.says()
        assert (said.status, said.headers["retry-after"], len(held)) == (429, "2", most)

    async def test_while_the_api_server_is_away(self, gateway: Gateway) -> None:
        await gateway.serve(kept=0, refused=0, stale=60)
        gateway.world.pods(POD)
        assert (await gateway.says("editor")).status == 200
        gateway.reviewer.away = True
        for _ in range(3):
            assert (await gateway.says("editor")).status == 200
        said = await gateway.says("invoker")
        assert (said.status, said.headers["x-roadstead-said"], int(said.headers["retry-after"]) >= 1) == (503, "true", True)
        gateway.reviewer.away = False
        assert (await gateway.says("invoker")).status == 200

    async def test_a_defect_is_said_and_logged(self, warm: Gateway, caplog: pytest.LogCaptureFixture) -> None:
        class Broken:
            def decide(self, target: object) -> Answer:
                raise ZeroDivisionError

        warm.authoriser.waking = Broken()
        said = await warm.says()
        assert (said.status, said.detail) == (500, DEFECT)
        assert "ZeroDivisionError" in caplog.text
