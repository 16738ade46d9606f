"""Requests that the user words, and where his token may go."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import typer
from aiohttp import web

from roadstead.cli.connection import Cluster, connect
from roadstead.cli.failure import Failure
from roadstead.cli.invoke import Call, call, headers_of, proxy_path, through_gateway
from roadstead.cli.kinds import WORKLOAD, Target
from tests.build import raw_workload
from tests.unit.kube.fake import ScriptedApi, Step

CHAT = Target(WORKLOAD, "chat")
GET = Call("GET", "/v1/models", {}, None, 5)


def cluster(folder: Path, **user: str) -> Cluster:
    file = folder / "kubeconfig"
    entries = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(json.dumps(entries))
    return connect(file, None, None)


def answering(status: int) -> Step:
    async def step(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.method} {request.path} as {request.headers.get('Authorization')}", status=status)

    return step


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, "v1/models", {}, None), ("GET", "/v1/models", {}, None)),
        ((None, "/", {}, '{"a": 1}'), ("POST", "/", {"Content-Type": "application/json"}, b'{"a": 1}')),
        (("put", "/x?y=1", {"content-type": "text/plain"}, "é"), ("PUT", "/x?y=1", {"content-type": "text/plain"}, "é".encode())),
    ],
)
def test_a_call(given: tuple[str | None, str, dict[str, str], str | None], expected: tuple[object, ...]) -> None:
    made = call(*given, 5)

    assert (made.method, made.path, made.headers, made.body) == expected


def test_data_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "audio.wav").write_bytes(b"\x00\xff")

    assert call(None, "/", {}, f"@{tmp_path}/audio.wav", 5).body == b"\x00\xff"
    with pytest.raises(typer.BadParameter, match="none can't be read: No such file"):
        call(None, "/", {}, f"@{tmp_path}/none", 5)


def test_headers() -> None:
    assert headers_of(["Accept: text/event-stream", "X-Empty:"]) == {"Accept": "text/event-stream", "X-Empty": ""}
    with pytest.raises(typer.BadParameter, match="Name: value"):
        headers_of(["no colon"])


@pytest.mark.parametrize(("scheme", "service"), [("http", "chat:http"), ("https", "https:chat:http")])
def test_the_service_is_reached_by_the_name_of_its_port(scheme: str, service: str) -> None:
    body = {**raw_workload(), "status": {"internalUrl": f"{scheme}://chat.team.svc.cluster.local"}}

    assert proxy_path(body) == f"/api/v1/namespaces/team/services/{service}/proxy"


async def test_the_gateway_gets_the_callers_token(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with ScriptedApi() as gateway:
        gateway.will(answering(200), answering(503))
        endpoint = f"{gateway.url}/api/v2/endpoints/workloads/1/"
        us = cluster(tmp_path, token="secret")
        await asyncio.to_thread(through_gateway, us, CHAT, endpoint, GET, include=False)
        with pytest.raises(Failure, match="workload/chat answered 503"):
            await asyncio.to_thread(through_gateway, us, CHAT, endpoint, GET, include=False)

    assert capfd.readouterr().out == "GET /api/v2/endpoints/workloads/1/v1/models as Bearer secret" * 2


@pytest.mark.parametrize(
    ("endpoint", "user", "said"),
    [
        (None, {"token": "t"}, "has no URL at the gateway"),
        ("https://ai.test", {}, "holds no token"),
        ("http://ai.test", {"token": "t"}, "is not https, so your token isn't sent there"),
    ],
)
def test_where_no_token_goes(tmp_path: Path, endpoint: str | None, user: dict[str, str], said: str) -> None:
    with pytest.raises(Failure, match=said):
        through_gateway(cluster(tmp_path, **user), CHAT, endpoint, GET, include=False)
