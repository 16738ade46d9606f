"""What passes through the gateway unharmed: paths, headers and answers as they are, and each kind of HTTP that a container may speak."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
import time
import uuid
from pathlib import Path

import aiohttp
import grpc
import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.api.identity import object_id
from tests.build import API_VERSION
from tests.clusters import apply, wait_for
from tests.support.place import Place
from tests.support.pods import Pod, grpc_pod, pod
from tests.support.raw_http import sent


@pytest.mark.parametrize(
    ("called", "got"),
    [
        ("", "/"),
        ("/", "/"),
        ("?q=1", "/?q=1"),
        ("/?q=1", "/?q=1"),
        ("/v1/models", "/v1/models"),
        ("/a/b%2Fc?q=1%202", "/a/b%2Fc?q=1%202"),
        ("//x", "//x"),
        ("/x//y/", "/x//y/"),
        ("/x/./y/../z", "/x/z"),
        ("/%7Euser/%E4%BD%A0?next=/../up", "/~user/%E4%BD%A0?next=/../up"),
        ("/api/v2/endpoints/workloads/x", "/api/v2/endpoints/workloads/x"),
    ],
)
def test_paths(place: Place, name: str, called: str, got: str) -> None:
    with place.client() as client:
        for _ in range(2):  # asked about, and remembered
            request = client.build_request("GET", "/")
            request.url = request.url.copy_with(raw_path=(place.prefix(name) + called).encode())
            answer = client.send(request)
            assert answer.status_code == 200
            assert answer.json()["path"] == got
            assert answer.json()["headers"]["x-forwarded-prefix"] == place.prefix(name)


def test_a_deployment_in_front(place: Place, cluster: ControlCluster, name: str) -> None:
    """The same under the Deployment's id, which is what the container hears of."""
    body = {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": "front", "namespace": place.namespace}}
    apply(cluster, {**body, "spec": {"workloadRef": {"name": name}}})
    prefix = f"/api/v2/endpoints/deployments/{object_id('deployments', place.namespace, 'front')}"
    with place.client() as client:
        wait_for(lambda: client.get(prefix + "/x").status_code == 200, "the gateway to know it")
        for called, got in (("", "/"), ("?q=1", "/?q=1"), ("/a%2Fb//c?d", "/a%2Fb//c?d")) * 2:
            said = client.get(prefix + called).json()
            assert said["path"] == got
            assert said["headers"]["x-forwarded-prefix"] == prefix
            assert client.get(prefix + "0" + called).status_code == 404
            assert client.get(place.prefix(name) + "/x").json()["headers"]["x-forwarded-prefix"] == place.prefix(name)


def test_what_the_container_is_told_of_the_caller(place: Place, name: str) -> None:
    extra = {"X-Api-Key": "kept", "api_key": "kept too"}
    with place.client(headers={**place.headers, **extra}) as client:
        for number in range(4):
            headers = client.post(place.prefix(name) + f"/{number}", content=b"x").json()["headers"]
            assert "authorization" not in headers
            assert headers["x-roadstead-user"] == f"system:serviceaccount:{place.namespace}:caller"
            assert headers["x-forwarded-prefix"] == place.prefix(name)
            assert headers["x-api-key"] == "kept"
            assert headers["api_key"] == "kept too"
            assert not [header for header in headers if header.startswith("x-roadstead-") and header != "x-roadstead-user"]


@pytest.mark.parametrize("code", [200, 201, 204, 302, 400, 401, 404, 418, 500, 503])
def test_the_containers_own_answers_are_its_own(place: Place, name: str, code: int) -> None:
    answer = httpx.get(place.url(name, f"/status?code={code}"), headers=place.headers, timeout=30)
    assert answer.status_code == code
    assert answer.headers["x-own"] == "yes"
    if code != 204:
        assert answer.text == "the container's own words"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_methods(place: Place, name: str, served: Pod, method: str) -> None:
    path = f"/{uuid.uuid4().hex}"
    answer = httpx.request(method, place.url(name, path), headers=place.headers, timeout=30)
    assert answer.status_code == 200
    assert [said["method"] for said in served.seen if said["path"] == path] == [method]


def test_events_arrive_as_they_are_sent(place: Place, name: str) -> None:
    late = []
    with place.client() as client, client.stream("GET", place.prefix(name) + "/sse?events=5&pause=0.5") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line:
                late.append(time.monotonic() - float(line.split()[2]))
    assert len(late) == 5
    assert max(late) < 0.45, "an event has waited for the next one"


async def test_websocket(place: Place, name: str, served: Pod) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.ws_connect(place.url(name, "/ws"), headers=place.headers, protocols=("chat",), autoping=True) as socket:
                assert socket.protocol == "chat"
                await socket.send_str("hello")
                assert await socket.receive_str(timeout=10) == "hello"
                await asyncio.sleep(1)
                await socket.send_bytes(b"\0" * 300_000)
                assert await socket.receive_bytes(timeout=10) == b"\0" * 300_000
        before = len(served.seen)
        for headers, status in (({}, 401), ({"Authorization": "Bearer nonsense"}, 401)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(place.url(name, "/ws"), headers=headers)
            assert caught.value.status == status
        assert len(served.seen) == before


def test_grpc(place: Place) -> None:
    with grpc_pod() as made, grpc.insecure_channel(place.gateway.url.removeprefix("http://")) as channel:
        name = place.workload(made)
        spoofed = (
            ("x-roadstead-user", "root"),
            ("x_roadstead_user", "root"),
            ("x-forwarded-prefix", "/evil"),
            ("x-envoy-max-retries", "9"),
        )
        metadata = (("authorization", f"Bearer {place.token}"), *spoofed)
        unary = channel.unary_unary(f"{place.prefix(name)}/test.Echo/Unary")
        stream = channel.unary_stream(f"{place.prefix(name)}/test.Echo/Stream")
        for _ in range(3):
            assert unary(b"hello", metadata=metadata, timeout=60) == b"hello"
            assert list(stream(b"hello", metadata=metadata, timeout=60)) == [b"0 hello", b"1 hello", b"2 hello"]
        headers = made.seen[-1]["headers"]
        assert "authorization" not in headers
        assert headers["x-roadstead-user"].endswith(":caller")
        assert headers["x-forwarded-prefix"] == place.prefix(name)
        assert not {"x_roadstead_user", "x-envoy-max-retries"} & set(headers)
        wrong = ((f"{place.prefix('nobody')}/test.Echo/Unary", metadata), (f"{place.prefix(name)}/test.Echo/Unary", ()))
        codes = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)
        for (path, said), code in zip(wrong, codes, strict=True):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path)(b"hello", metadata=said, timeout=60)
            assert caught.value.code() is code


async def test_everything_waits_for_the_first_pod(place: Place, served: Pod) -> None:
    """An upload, a WebSocket and a HEAD to a Workload without pods go on as if nothing had been when there is one."""
    name, body = place.workload(), bytes(range(256)) * 20_000

    async def upload(session: aiohttp.ClientSession) -> str:
        async with session.post(place.url(name, "/upload"), data=io.BytesIO(body)) as answer:
            assert "total=" in answer.headers["x-roadstead-cold-start"]
            return str((await answer.json())["sha256"])

    async def talk(session: aiohttp.ClientSession) -> str:
        async with session.ws_connect(place.url(name, "/ws")) as opened:
            await opened.send_str("hello")
            return await opened.receive_str(timeout=10)

    async def head(session: aiohttp.ClientSession) -> int:
        async with session.head(place.url(name, "/x")) as answer:
            return answer.status

    async with aiohttp.ClientSession(headers=place.headers) as session:
        calls = [asyncio.create_task(call(session)) for call in (upload, talk, head)]
        done, _ = await asyncio.wait(calls, timeout=1.5)
        assert not done
        await asyncio.to_thread(place.pods, name, served)
        assert await asyncio.gather(*calls) == [hashlib.sha256(body).hexdigest(), "hello", 200]


def test_old_and_careful_clients(place: Place, name: str, served: Pod) -> None:
    """HTTP/1.0, ``Expect: 100-continue``, and an offer to go on in HTTP/2, which is passed over."""
    authorization, prefix = f"Authorization: Bearer {place.token}", place.prefix(name)
    old = sent(place.gateway, f"GET {prefix}/old HTTP/1.0\r\n{authorization}\r\n\r\n".encode())
    assert old.startswith((b"HTTP/1.0 200 ", b"HTTP/1.1 200 "))
    assert b"transfer-encoding" not in old.lower()
    head = f"POST {prefix}/upload HTTP/1.1\r\nHost: here\r\n{authorization}\r\nContent-Length: 3\r\n"
    with socket.create_connection(("127.0.0.1", place.gateway.ports["port"]), timeout=10) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    offered = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    with socket.create_connection(("127.0.0.1", place.gateway.ports["port"]), timeout=10) as connection:
        connection.sendall(f"{head}{offered}\r\nabc".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert "upgrade" not in served.seen[-1]["headers"]


def test_a_pod_that_speaks_tls(place: Place, tmp_path: Path) -> None:
    with pod(tmp_path) as made:
        name = place.serving(made)
        answer = httpx.get(place.url(name, "/x?y=1"), headers=place.headers, timeout=30)
        assert answer.json()["path"] == "/x?y=1"
        assert answer.json()["headers"]["x-forwarded-prefix"] == place.prefix(name)
