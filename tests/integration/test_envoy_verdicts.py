"""What the verdict cache in Envoy may not do: outlive what was said, take one caller or endpoint for another, or keep just anything.

Envoy is real; see tests/support/lone_envoy.py for what stands around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.lone_envoy import CLUSTER, ID, PREFIX, TOKEN, Echo, LoneEnvoy, faultless, lone_envoy, read_head, reply, request


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one, faultless(one):
        yield one


async def test_a_verdict_is_as_old_as_its_question(envoy: LoneEnvoy) -> None:
    """The answer of a slow service brings back no permission that was given long before."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader) is not None:
            begun.set()
            await release.wait()
            writer.write(reply(200))

    await envoy.pods(await envoy.listen(slow))
    envoy.gate.verdict_seconds = 2
    first = asyncio.create_task(envoy.get("/x"))
    await begun.wait()
    await asyncio.sleep(envoy.gate.verdict_seconds)
    release.set()
    assert (await first).status == 200
    assert (await envoy.get("/x")).status == 200
    assert len(envoy.gate.asked) == 2


async def test_a_late_answer_takes_nothing_back(envoy: LoneEnvoy) -> None:
    """What was asked first ends first, also if it is answered last."""

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            writer.write(reply(200, b"", f"x-user: {head.all('x-roadstead-user')[0]}"))

    await envoy.pods(await envoy.listen(service))
    envoy.gate.verdict_seconds = 30
    held = envoy.gate.release = asyncio.Event()
    slow = asyncio.create_task(envoy.get("/slow"))
    async with asyncio.timeout(10):
        while not envoy.gate.asked:  # noqa: ASYNC110 - the gate is a plain list
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.1)  # lifetimes are in whole seconds
    envoy.gate.release, envoy.gate.user = None, "ada, renamed"
    await envoy.get("/x")
    envoy.gate.user = "ada"
    held.set()
    assert (await slow).header("x-user") == "ada"
    assert (await envoy.get("/x")).header("x-user") == "ada, renamed"
    assert len(envoy.gate.asked) == 2


async def test_an_id_and_a_token_are_two_things(envoy: LoneEnvoy) -> None:
    await envoy.pods(await envoy.listen(Echo()))
    envoy.gate.verdict_seconds = 60
    for _ in range(2):
        assert (await envoy.get()).status == 200
    assert len(envoy.gate.asked) == 1
    shorter = await envoy.send(request(PREFIX[:-1], token=ID[-1] + TOKEN))
    longer = await envoy.send(request(PREFIX + "Bea", token=TOKEN.removeprefix("Bea")))
    assert (shorter.status, longer.status) == (401, 401)
    assert len(envoy.gate.asked) == 3


@pytest.mark.parametrize(("length", "questions"), [(4096, 1), (4097, 3)])
async def test_long_tokens_are_not_kept(envoy: LoneEnvoy, length: int, questions: int) -> None:
    await envoy.pods(await envoy.listen(Echo()))
    envoy.gate.verdict_seconds = 60
    token = envoy.gate.token = TOKEN.ljust(length, "x")
    for _ in range(3):
        assert (await envoy.send(request(PREFIX, token=token))).status == 200
    assert len(envoy.gate.asked) == questions


async def test_a_known_verdict_asks_nobody(envoy: LoneEnvoy) -> None:
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.verdict_seconds = 60
    for _ in range(5):
        assert (await envoy.get("/x?y=1", "x-roadstead-user: mallory")).status == 200
    assert len(envoy.gate.asked) == 1
    await envoy.close_gate()
    assert (await envoy.get("/x?y=1")).status == 200
    await envoy.open_gate()
    first, last = echo.seen[0], echo.seen[-1]
    same = [[pair for pair in head.headers if pair[0] != "x-request-id"] for head in (first, last)]
    assert same[0] == same[1]
    ours = {"x-forwarded-prefix", "x-roadstead-user"}
    others = {"x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-external-address"}
    assert {name for name, _ in first.headers if name.startswith("x-")} == ours | others, "all that docs/gateway.md tells of"
    assert (first.line, last.line) == ("GET /x?y=1 HTTP/1.1",) * 2
    for refused in (
        request(PREFIX + "/x", token="Bearer bad"),
        request(PREFIX + "/x", token=None),
        request(PREFIX + "/x", "authorization: Bearer bad"),
    ):
        assert (await envoy.send(refused)).status == 401
    for other in ("zz/x", "0/x", "%30/x"):  # a longer name is another endpoint, of which this verdict says nothing
        asked = len(envoy.gate.asked)
        await envoy.send(request(PREFIX + other))
        assert len(envoy.gate.asked) == asked + 1, other


async def test_a_verdict_ends(envoy: LoneEnvoy) -> None:
    await envoy.pods(await envoy.listen(Echo()))
    envoy.gate.verdict_seconds = 1
    for _ in range(2):
        await envoy.get("/x")
        await asyncio.sleep(2.5)
    assert len(envoy.gate.asked) == 2


async def test_a_lifetime_that_is_none_is_not_kept(envoy: LoneEnvoy) -> None:
    await envoy.pods(await envoy.listen(Echo()))
    for lifetime in ("soon", "-1", "nan", "1e9999", "86400"):
        envoy.gate.asked.clear()
        envoy.gate.says = reply(200, b"", f"x-roadstead-cluster: {CLUSTER}", f"x-roadstead-verdict-seconds: {lifetime}")
        token = f"Bearer {lifetime}"
        assert [(await envoy.send(request(PREFIX, token=token))).status for _ in range(2)] == [200, 200]
        assert len(envoy.gate.asked) == 2, lifetime
