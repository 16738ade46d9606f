"""The authoriser over real sockets: who may call what, what Envoy is told, and what it costs to say so."""

from __future__ import annotations

import asyncio
import time

import pytest

from roadstead.access.callers import GUESSES_AT_ONCE
from roadstead.api.identity import object_id
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD
from tests.support.signer import Signer
from tests.unit.gateway.authoriser_world import KINDS, NOBODY, ROLES, Gateway, path_of
from tests.unit.gateway.reviewer import jwt
from tests.unit.gateway.waking_world import NS


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


async def test_who_guesses_tokens_shuts_out_no_new_one_of_the_clusters_own(warm: Gateway) -> None:
    """Behind a proxy whose word isn't believed all have one address."""
    signer, stranger = Signer(), Signer()
    warm.reviewer.keys = [signer.jwk()]
    warm.reviewer.tokens[new := signer.token("new")] = "editor"
    connection = await warm.wire()

    async def asked(token: str) -> int:
        connection.ask(path_of(WORKLOAD), authorization=f"Bearer {token}", x_roadstead_client="10.0.0.1")
        return (await connection.hear()).status

    assert [await asked(f"guess-{number}") for number in range(int(GUESSES_AT_ONCE))] == [401] * 100
    assert not warm.reviewer.asked["jwks"], "who may still guess is asked for nothing more"
    assert 429 in [await asked(stranger.token(str(number))) for number in range(3 * int(GUESSES_AT_ONCE))]
    reviews = warm.reviewer.asked["tokenreviews"]
    assert await asked(new) == 200
    assert await asked(signer.token("revoked")) == 401, "a signature is no right"
    assert warm.reviewer.asked["tokenreviews"] - reviews == 3
    assert warm.reviewer.asked["jwks"] == 1


async def test_who_has_a_network_of_addresses_guesses_no_more(warm: Gateway) -> None:
    """Of IPv6 one machine may have 2^64 of them; IPv4 in IPv6's form is one by one."""
    connection = await warm.wire()

    async def asked(client: str) -> int:
        connection.ask(path_of(WORKLOAD), authorization=f"Bearer guess-{client}", x_roadstead_client=client)
        return (await connection.hear()).status

    answers = [await asked(f"2001:db8:0:1::{number:x}") for number in range(3 * int(GUESSES_AT_ONCE))]
    assert answers[:100] == [401] * 100
    assert 429 in answers
    assert await asked("2001:db8:0:2::1") == 401
    assert {await asked(f"::ffff:10.0.{number // 250}.{number % 250}") for number in range(2 * int(GUESSES_AT_ONCE))} == {401}
    assert await asked("a name") == 401


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
        assert [(await connection.hear()).status for _ in range(2)] == [200, 404]
    assert not made
    connection.ask(path, authorization="Bearer invoker")
    await connection.hear()
    assert made, "it counts at all"
