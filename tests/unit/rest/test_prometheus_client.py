"""How Prometheus is asked: who gets the token, what is too much, and that no answer is a word in the log and nothing else."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from hack.cluster.certificates import Authority
from roadstead.rest.prometheus import LARGEST_BYTES, Prometheus
from roadstead.rest.promql import Span

KEY = "d-" + "0" * 24
SPAN = Span(1_800_000_000.0, 1_800_003_600.0)
NOTHING = '{"status":"success","data":{"resultType":"vector","result":[]}}'
SOME = (
    '{"status":"success","data":{"resultType":"vector","result":['
    '{"metric":{"figure":"first"},"value":[1800003600,"1800000000"]},{"metric":{"figure":"last"},"value":[1800003600,"1800003600"]},'
    '{"metric":{"figure":"looks"},"value":[1800003600,"60"]},{"metric":{"figure":"requests"},"value":[1800003600,"7"]}]}}'
)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server in Prometheus's place; yields its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(url: str, *options: Path | None) -> AsyncIterator[Prometheus]:
    prometheus = Prometheus(url, *options)
    try:
        yield prometheus
    finally:
        await prometheus.close()


def pair(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority, and a server of its."""
    authority = Authority.create(folder)
    made = authority.server("server", ["localhost"], [])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.certificate, made.key)
    return authority.certificate, tls


def said(text: str, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status)

    return answer


async def test_a_question_is_a_form_and_bears_the_token_of_the_moment(tmp_path: Path) -> None:
    asked: list[tuple[str, str, str | None]] = []
    forms: list[dict[str, list[str]]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.method, request.path, request.headers.get("Authorization")))
        forms.append(parse_qs(await request.text()))
        return web.Response(text=SOME)

    token = tmp_path / "token"
    token.write_text("one\n")
    async with serving(answer) as url, client(f"{url}/under/it/", token) as prometheus:
        found = await prometheus.figures(KEY, SPAN)
        token.write_text("two")
        await prometheus.last_request(KEY, SPAN)
    assert found is not None
    assert found.requests == 7
    one, two = (("POST", "/under/it/api/v1/query", f"Bearer {which}") for which in ("one", "two"))
    assert asked == [one, one, two]
    assert forms[0]["time"] == ["1800003600.000"]
    assert forms[0]["partial_response"] == ["false"]


async def test_where_latencies_are_too_much_the_counts_are_there() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        heavy = "_bucket" in parse_qs(await request.text())["query"][0]
        return web.Response(text='{"status":"error","error":"too many samples"}', status=422) if heavy else web.Response(text=SOME)

    async with serving(answer) as url, client(url) as prometheus:
        found = await prometheus.figures(KEY, SPAN)
    assert found is not None
    assert (found.requests, found.latencies) == (7, None)


async def test_the_token_follows_no_redirect(tmp_path: Path) -> None:
    strangers: list[str | None] = []

    async def stranger(request: web.Request) -> web.StreamResponse:
        strangers.append(request.headers.get("Authorization"))
        return web.Response(text=SOME)

    async with serving(stranger) as elsewhere:

        async def answer(_: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"{elsewhere}/")

        (tmp_path / "token").write_text("one")
        async with serving(answer) as url, client(url, tmp_path / "token") as prometheus:
            assert await prometheus.figures(KEY, SPAN) is None
    assert strangers == []


@pytest.mark.parametrize(
    ("text", "status", "word"),
    [
        ("", 200, "not an answer"),
        ("who are you?", 401, "code 401"),
        ('{"status":"error","error":"query processing would load too many samples"}', 422, "code 422: query processing would load"),
        ("x" * (LARGEST_BYTES + 1), 200, "more than"),
    ],
)
async def test_no_answer_is_one_word_in_the_log(text: str, status: int, word: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(said(text, status)) as url, client(url) as prometheus:
        for _ in range(3):
            assert await prometheus.figures(KEY, SPAN) is None
            assert await prometheus.last_request(KEY, SPAN) is None
    assert [record.levelname for record in caplog.records if "Prometheus" in record.getMessage()] == ["WARNING"]
    assert word in caplog.text


async def test_one_that_is_away_or_a_token_that_is_not_there_is_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(said(SOME)) as url, client(url, tmp_path / "token") as prometheus:
        assert await prometheus.figures(KEY, SPAN) is None
    async with client(url) as prometheus:
        assert await prometheus.figures(KEY, SPAN) is None
    assert len([record for record in caplog.records if "Figures of Prometheus" in record.getMessage()]) == 2


async def test_who_answers_is_who_the_authority_says(tmp_path: Path) -> None:
    authority, tls = pair(tmp_path / "ours")
    stranger, _ = pair(tmp_path / "theirs")
    async with serving(said(SOME), tls) as url:
        for trusted, known in ((authority, True), (stranger, False), (tmp_path / "missing", False), (None, False)):
            async with client(url, None, trusted) as prometheus:
                assert (await prometheus.figures(KEY, SPAN) is not None) is known
        trusted = tmp_path / "ca.crt"
        trusted.write_bytes(stranger.read_bytes())
        async with client(url, None, trusted) as prometheus:
            assert await prometheus.figures(KEY, SPAN) is None
            trusted.write_bytes(authority.read_bytes())
            assert await prometheus.figures(KEY, SPAN) is not None, "a new authority takes no restart"
