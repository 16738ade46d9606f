"""The authoriser over real sockets: who may call what, what Envoy is told, and what it costs to say so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from roadstead.access.callers import GUESSES_AT_ONCE
from roadstead.api.identity import object_id
from roadstead.gateway import http
from roadstead.gateway.answers import decoded
from roadstead.gateway.authoriser import Authoriser
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD
from roadstead.gateway.http import listening
from roadstead.gateway.permission import Permission
from roadstead.gateway.waking import Answer
from tests.unit.gateway.reviewer import Reviewer, Said, Wire, access, jwt, reviewing, wire
from tests.unit.gateway.waking_world import NS, POD, World, settle
from tests.unit.kube.fake import until

ROLES = ("editor", "invoker", "viewer", "stranger")
KINDS = {WORKLOAD: "w", DEPLOYMENT: "d"}
NOBODY = "f" * 24


class Gateway:
    """An authoriser in front of a world with Workload ``w`` and Deployment ``d``, in which each role's token is its name."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.world = World()
        self.reviewer = Reviewer(tokens={role: role for role in ROLES})
        for kind in KINDS:
            self.reviewer.rights |= {(user, "create", f"{kind}/invoke", NS, "") for user in ("editor", "invoker")}
            self.reviewer.rights |= {(user, "get", kind, NS, "") for user in ("editor", "viewer")}
        self.world.workload()
        self.world.deployment("d", "w", "w")
        self.port = 0
        self.authoriser: Authoriser

    async def serve(self, kept: float = 60, refused: float = 60, stale: float = 60) -> None:
        client = await self.stack.enter_async_context(reviewing(self.reviewer))
        self.authoriser = Authoriser(Permission(*access(client, kept, refused, stale), self.world.directory), self.world.waking)
        self.port = await self.stack.enter_async_context(listening(self.authoriser, "127.0.0.1", 0))

    async def wire(self) -> Wire:
        return await self.stack.enter_async_context(wire(self.port))

    async def says(self, role: str | None = "editor", path: str | None = None, client: str = "10.9.9.9", **headers: str) -> Said:
        connection = await self.wire()
        if role is not None:
            headers["authorization"] = f"Bearer {role}"
        connection.ask(path or path_of(WORKLOAD), x_roadstead_client=client, **headers)
        return await connection.hear()


def path_of(kind: str, name: str = "", rest: str = "/v1/models?x=1") -> str:
    return f"/api/v2/endpoints/{kind}/{object_id(kind, NS, name or KINDS[kind])}{rest}"


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        made = Gateway(stack)
        await made.serve()
        yield made


@pytest.fixture
async def warm(gateway: Gateway) -> Gateway:
    gateway.world.pods(POD)
    await settle()
    return gateway


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("role", "status"), [("editor", 200), ("invoker", 200), ("viewer", 403), ("stranger", 404)])
@pytest.mark.parametrize("ours", [False, True])
async def test_a_right_decides(warm: Gateway, kind: str, role: str, status: int, ours: bool) -> None:
    """Also for tokens that may only read and invoke."""
    if ours:
        warm.reviewer.ours = set(ROLES)
    for _ in range(2):  # asked, and kept
        said = await warm.says(role, path_of(kind))
        assert said.status == status
        if status == 403:
            assert f"create {kind}/invoke of roadstead.dev" in said.detail
        if status == 404:
            nobody = await warm.says(role, f"/api/v2/endpoints/{kind}/{NOBODY}/v1/models?x=1")
            assert (nobody.status, nobody.headers) == (404, said.headers)
            assert nobody.body == said.body.replace(object_id(kind, NS, KINDS[kind]).encode(), NOBODY.encode())


async def test_a_right_on_one_name_is_enough(warm: Gateway) -> None:
    warm.reviewer.rights.add(("stranger", "create", "workloads/invoke", NS, "w"))
    warm.world.workload("other")
    assert [(await warm.says("stranger", path_of(WORKLOAD, name))).status for name in ("w", "other", "w")] == [200, 404, 200]
    assert (await warm.says("stranger", path_of(DEPLOYMENT))).status == 404


async def test_what_envoy_is_told(warm: Gateway) -> None:
    warm.reviewer.tokens["odd"] = "Jörg\r\nx-roadstead-cluster: w-other"
    warm.reviewer.rights.add((warm.reviewer.tokens["odd"], "create", "deployments/invoke", NS, ""))
    id = object_id(DEPLOYMENT, NS, "d")
    said = await warm.says("odd", path_of(DEPLOYMENT))
    assert said.headers == {
        "x-roadstead-cluster": f"d-{id}",
        "x-roadstead-user": "J%C3%B6rg%0D%0Ax-roadstead-cluster:%20w-other",
        "x-roadstead-verdict-seconds": said.headers["x-roadstead-verdict-seconds"],
        "x-envoy-auth-headers-to-remove": "authorization",
        "content-length": "0",
    }
    assert float(said.headers["x-roadstead-verdict-seconds"]) > 0
    assert warm.authoriser.answers == {200: 1}


async def test_envoy_remembers_no_token_longer_than_it_lives(warm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    token = jwt(now + 1000)
    warm.reviewer.tokens[token] = "editor"
    monkeypatch.setattr("time.time", lambda: now)
    full = float((await warm.says(token)).headers["x-roadstead-verdict-seconds"])
    assert full > 0.25
    monkeypatch.setattr("time.time", lambda: now + 999.75)
    assert (await warm.says(token)).headers["x-roadstead-verdict-seconds"] == "0.250"
    monkeypatch.setattr("time.time", lambda: now + 1000)
    said = await warm.says(token)
    assert said.status == 401
    assert warm.reviewer.asked["tokenreviews"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v2/endpoints/workloads/",
        "/api/v2/endpoints/workloads/0123",
        f"/api/v2/endpoints/artifacts/{NOBODY}/",
        f"/api/v2/endpoints/workloads/{NOBODY}0/",
        f"/api/v2/endpoints/workloads/{NOBODY}%2fx",
        f"/x/api/v2/endpoints/workloads/{NOBODY}",
    ],
)
async def test_other_paths_lead_nowhere(gateway: Gateway, path: str) -> None:
    assert (await gateway.says(path=path)).status == 404
    assert not gateway.reviewer.asked


@pytest.mark.parametrize("rest", ["", "/", "?x", "/a/b"])
async def test_whatever_follows_the_id(warm: Gateway, rest: str) -> None:
    assert (await warm.says(path=path_of(WORKLOAD, rest=rest))).status == 200


@pytest.mark.parametrize("header", [None, "Bearer", "Basic YTpi", "Bearer é", f"Bearer {'x' * 20_000}", f"Bearer {jwt(1)}", "Bearer none"])
async def test_without_a_valid_token_nobody_gets_in(gateway: Gateway, header: str | None) -> None:
    said = await gateway.says(None, **({} if header is None else {"authorization": header}))
    assert (said.status, said.headers["www-authenticate"], said.headers["content-type"]) == (401, "Bearer", "application/json")
    assert "token" in said.detail


async def test_two_tokens_are_none(gateway: Gateway) -> None:
    connection = await gateway.wire()
    connection.ask(path_of(WORKLOAD), authorization="Bearer editor\r\nAuthorization: Bearer editor")
    assert (await connection.hear()).status == 401


async def test_ids_that_lead_nowhere_cost_no_call(warm: Gateway) -> None:
    connection = await warm.wire()
    for number in range(200):
        connection.ask(f"/api/v2/endpoints/workloads/{number:024x}", authorization="Bearer stranger")
        assert (await connection.hear()).status == 404
    assert dict(warm.reviewer.asked) == {"tokenreviews": 1}


async def test_who_guesses_tokens_is_slowed_down_and_nobody_else(warm: Gateway) -> None:
    assert (await warm.says("editor", client="10.0.0.1")).status == 200
    connection = await warm.wire()
    answers = []
    for number in range(3 * int(GUESSES_AT_ONCE)):
        connection.ask(path_of(WORKLOAD), authorization=f"Bearer guess-{number}", x_roadstead_client="10.0.0.1")
        answers.append(await connection.hear())
    assert [said.status for said in answers[:100]] == [401] * 100
    slowed = [said for said in answers if said.status == 429]
    assert slowed
    assert all(int(said.headers["retry-after"]) >= 1 for said in slowed)
    assert (await warm.says("guess", client="10.0.0.2")).status == 401
    assert (await warm.says("editor", client="10.0.0.1")).status == 200


async def test_guesses_all_at_once_are_no_cheaper(warm: Gateway) -> None:
    """Nor do those who come with one and the same new token count as many."""
    connections = [await warm.wire() for _ in range(2 * int(GUESSES_AT_ONCE))]
    for connection in connections:
        connection.ask(path_of(WORKLOAD), authorization="Bearer editor", x_roadstead_client="10.0.0.1")
    assert {(await connection.hear()).status for connection in connections} == {200}
    before = warm.reviewer.asked["tokenreviews"]
    for number, connection in enumerate(connections):
        connection.ask(path_of(WORKLOAD), authorization=f"Bearer guess-{number}", x_roadstead_client="10.0.0.1")
    assert {(await connection.hear()).status for connection in connections} == {401, 429}
    assert warm.reviewer.asked["tokenreviews"] - before < 2 * len(connections)


async def test_tokens_that_were_none_before_count_again(gateway: Gateway) -> None:
    await gateway.serve(refused=0)
    connection = await gateway.wire()
    answers = set()
    for _ in range(3 * int(GUESSES_AT_ONCE)):
        connection.ask(path_of(WORKLOAD), authorization="Bearer guess", x_roadstead_client="10.0.0.1")
        answers.add((await connection.hear()).status)
    assert answers == {401, 429}


async def test_new_tokens_that_are_valid_use_nothing_up(warm: Gateway) -> None:
    connection = await warm.wire()
    for number in range(3 * int(GUESSES_AT_ONCE)):
        warm.reviewer.tokens[f"editor-{number}"] = "editor"
        connection.ask(path_of(WORKLOAD), authorization=f"Bearer editor-{number}", x_roadstead_client="10.0.0.1")
        assert (await connection.hear()).status == 200


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


@pytest.mark.parametrize("role", ["editor", "stranger"])
async def test_what_is_known_costs_no_task(warm: Gateway, role: str) -> None:
    """Be the right one on the namespace or on the name."""
    warm.reviewer.rights.add(("stranger", "create", "workloads/invoke", NS, "w"))
    connection = await warm.wire()
    path, headers = path_of(WORKLOAD), {"authorization": f"Bearer {role}"}
    connection.ask(path, **headers)
    await connection.hear()
    made: list[object] = []

    def counted(loop: asyncio.AbstractEventLoop, coro: object, **options: object) -> asyncio.Task[object]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)  # type: ignore[arg-type]

    asyncio.get_running_loop().set_task_factory(counted)  # type: ignore[arg-type]
    for _ in range(50):
        connection.ask(path, **headers)
        connection.ask(f"/api/v2/endpoints/workloads/{NOBODY}", **headers)
    assert [(await connection.hear()).status for _ in range(100)] == [200, 404] * 50
    assert not made
    connection.ask(path, authorization="Bearer invoker")
    await connection.hear()
    assert made, "it counts at all"


class TestWire:
    @pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\0" * 5000])
    async def test_what_is_no_http_ends_the_connection(self, gateway: Gateway, junk: bytes) -> None:
        connection = await gateway.wire()
        connection.writer.write(junk)
        assert await connection.over()

    async def test_a_head_may_not_be_huge(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask("/", x_a="a" * http.MOST_BYTES)
        assert (await connection.hear()).status == 431

    async def test_nor_grow_without_end(self, gateway: Gateway) -> None:
        """The parser keeps the pieces of a header to itself until its line is complete."""
        connection = await gateway.wire()
        connection.writer.write(b"GET / HTTP/1.1\r\nx-a: ")
        sent = 0
        while not connection.writer.transport.is_closing() and sent < 10 * http.MOST_BYTES:
            connection.writer.write(b"a" * 1000)
            sent += 1000
            await asyncio.sleep(0.001)
        assert sent < 3 * http.MOST_BYTES

    async def test_nor_have_too_many_lines(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask("/", **{f"x_{number}": "a" for number in range(http.MOST_HEADERS + 1)})
        assert (await connection.hear()).status == 431

    async def test_nor_take_for_ever(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.writer.write(b"GET / HTTP/1.1\r\n")
        assert await connection.over()

    async def test_pieces_make_a_whole(self, warm: Gateway) -> None:
        connection = await warm.wire()
        for byte in f"GET {path_of(WORKLOAD)} HTTP/1.1\r\nAuthorization: Bearer editor\r\nContent-Length: 0\r\n\r\n".encode():
            connection.writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await connection.hear()).status == 200

    async def test_bodies_are_passed_over(self, warm: Gateway) -> None:
        connection = await warm.wire()
        for _ in range(2):
            connection.ask(path_of(WORKLOAD), method="POST", body=b"x" * 100_000, content_length="100000", authorization="Bearer editor")
            assert (await connection.hear()).status == 200

    async def test_who_asks_for_the_end_gets_it_after_the_answer(self, warm: Gateway) -> None:
        connection = await warm.wire()
        connection.ask(path_of(WORKLOAD), authorization="Bearer stranger", connection="close")
        assert (await connection.hear()).status == 404
        assert await connection.over()

    async def test_the_end_of_the_listener_is_the_end_of_its_connections(self, gateway: Gateway) -> None:
        async with AsyncExitStack() as clients:
            async with listening(gateway.authoriser, "127.0.0.1", 0) as port:
                idle, told, waiting = [await clients.enter_async_context(wire(port)) for _ in range(3)]
                waiting.ask(path_of(WORKLOAD), authorization="Bearer editor")
                told.ask("/")
                await until(lambda: gateway.world.waking.total == 1)
            assert (await told.hear()).status == 404
            assert all([await connection.over() for connection in (idle, told, waiting)])
        await until(lambda: gateway.world.waking.total == 0)
