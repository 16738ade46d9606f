"""Signs of life of watches, as they are seen in the session by which somebody else watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from roadstead.operator.pulse import Pulse, Pulses
from roadstead.resources import ARTIFACTS, WORKLOADS

PATH = WORKLOADS.path(None)
LONG_AGO = -1000.0


class Server:
    """Answers one path as it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.say: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        while piece := await self.say.get():
            await response.write(piece)
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/{any:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    yield made
    await runner.cleanup()


def aged(pulses: Pulses) -> Pulse:
    """The watch of Workloads, and as if nobody had heard of any for long."""
    for pulse in pulses.all:
        pulse.last_heard = pulse.last_failed = LONG_AGO
    return next(pulse for pulse in pulses.all if pulse.resource is WORKLOADS)


async def test_an_answer_and_each_piece_of_a_stream_are_signs_of_life(server: Server) -> None:
    pulses = Pulses((WORKLOADS, ARTIFACTS))
    pulse = aged(pulses)
    async with aiohttp.ClientSession(middlewares=(pulses.middleware,)) as session:
        async with session.get(f"{server.url}{PATH}?watch=true") as response:
            assert pulse.last_heard > LONG_AGO
            pieces = response.content.iter_chunked(1024)
            for said in (b"one\n", b"two\n"):
                aged(pulses)
                server.say.put_nowait(said)
                assert await anext(pieces) == said
                assert pulse.last_heard > LONG_AGO
            server.say.put_nowait(b"")
        assert [each.last_heard for each in pulses.all if each is not pulse] == [LONG_AGO]
        assert pulse.last_failed == LONG_AGO


async def test_what_else_is_asked_says_nothing_and_is_read_as_ever(server: Server) -> None:
    pulses = Pulses((WORKLOADS,))
    pulse = aged(pulses)
    for part in (b"all", b""):
        server.say.put_nowait(part)
    async with aiohttp.ClientSession(middlewares=(pulses.middleware,)) as session, session.get(f"{server.url}/version") as response:
        assert await response.read() == b"all"
    assert pulse.last_heard == LONG_AGO
    for part in (b"all", b""):
        server.say.put_nowait(part)
    async with aiohttp.ClientSession(middlewares=(pulses.middleware,)) as session, session.get(server.url + PATH) as response:
        assert await response.read() == b"all"
    assert pulse.last_heard > LONG_AGO


async def test_refusals_and_no_answer_are_failures(server: Server) -> None:
    pulses = Pulses((WORKLOADS,))
    pulse = aged(pulses)
    server.status = 503
    server.say.put_nowait(b"")
    async with aiohttp.ClientSession(middlewares=(pulses.middleware,)) as session:
        async with session.get(server.url + PATH):
            assert pulse.last_failed > LONG_AGO
        aged(pulses)
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:1{PATH}")
    assert pulse.last_failed > LONG_AGO
    assert pulse.last_heard == LONG_AGO
    assert not pulse.present
    pulses.begin()
    assert pulse.present
    assert pulse.last_heard > LONG_AGO
    pulses.end()
    assert not pulse.present


async def test_a_list_is_told_of_and_a_watch_is_not(server: Server) -> None:
    pulses = Pulses((WORKLOADS,))
    async with aiohttp.ClientSession(middlewares=(pulses.middleware,)) as session:
        for path, listed in ((f"{PATH}?watch=true", False), ("/version", False), (PATH, True)):
            server.say.put_nowait(b"")
            async with session.get(server.url + path):
                assert pulses.listed.is_set() is listed
        pulses.listed.clear()
        server.status = 503
        server.say.put_nowait(b"")
        async with session.get(server.url + PATH):
            assert not pulses.listed.is_set()
