"""The authoriser's requests that wait for a pod, and answers other than yes and no: by way of the answerer, since a 5xx would be ours."""

from __future__ import annotations

import pytest

from roadstead.api.identity import object_id
from roadstead.gateway import http
from roadstead.gateway.answers import decoded
from roadstead.gateway.directory import WORKLOAD
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


class TestRouted:
    """A 5xx would be a failure of ours to Envoy."""

    async def test_what_is_stopped_is_answered_by_the_answerer(self, gateway: Gateway) -> None:
        gateway.world.workload(suspended=True, state="stopped", message="Stopped by Ann, größer als nötig")
        said = await gateway.says()
        assert (said.status, said.headers["x-roadstead-cluster"]) == (200, "answers")
        assert decoded(said.headers["x-roadstead-answer"].encode()).status == 503
        assert gateway.authoriser.answers == {503: 1}

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
            assert (await gateway.says("editor")).headers["x-roadstead-cluster"] != "answers"
        said = await gateway.says("invoker")
        assert said.headers["x-roadstead-cluster"] == "answers"
        answer = decoded(said.headers["x-roadstead-answer"].encode())
        assert (answer.status, answer.retry_after is not None) == (503, True)
        gateway.reviewer.away = False
        assert (await gateway.says("invoker")).headers["x-roadstead-cluster"] != "answers"

    async def test_a_defect_is_said_and_logged(self, warm: Gateway, caplog: pytest.LogCaptureFixture) -> None:
        class Broken:
            def decide(self, target: object) -> Answer:
                raise ZeroDivisionError

        warm.authoriser.waking = Broken()
        said = await warm.says()
        assert decoded(said.headers["x-roadstead-answer"].encode()).status == 500
        assert "ZeroDivisionError" in caplog.text
