"""What passes through the gateway unharmed: each kind of HTTP that a container may speak, be it slow, long or large; and pods in motion."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import grpc
import httpx
import pytest

from hack.cluster.control import ControlCluster, free_ports
from roadstead.api.identity import object_id
from tests.build import API_VERSION
from tests.clusters import apply, declare_platform, wait_for
from tests.support.gateways import Replica, gateway_access, running_gateway
from tests.support.pods import MIB, Place, Pod, grpc_pod, pod, raw_pod, resident_mib, sent, wait_route
from tests.world import new_namespace

FLAT_MIB = 64
"""How much more memory Envoy may take for bodies of any size: some buffers of 1 MiB for each connection."""


@pytest.fixture(scope="module")
def gateway(cluster: ControlCluster) -> Iterator[Replica]:
    with running_gateway(cluster, gateway_access(cluster)) as running:
        yield running


@pytest.fixture(scope="module")
def place(cluster: ControlCluster, gateway: Replica) -> Iterator[Place]:
    with new_namespace(cluster) as namespace:
        yield Place(cluster, namespace, gateway)


@pytest.fixture(scope="module")
def served() -> Iterator[Pod]:
    with pod() as made:
        yield made


@pytest.fixture(scope="module")
def name(place: Place, served: Pod) -> str:
    """A Workload that answers."""
    return place.serving(served)


@pytest.fixture
def short_idle_timeout(cluster: ControlCluster, gateway: Replica, settings: None) -> int:
    declare_platform(cluster, gateway={"idleTimeoutSeconds": 3})
    wait_route(gateway, 3)
    return 3


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


@pytest.mark.parametrize(
    "said",
    [
        b"banana",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: x\r\n" % number for number in range(500)) + b"\r\n",
    ],
    ids=["no HTTP", "no status", "two lengths", "large head", "many headers"],
)
def test_a_container_that_answers_nonsense(place: Place, said: bytes) -> None:
    with raw_pod(lambda _: said) as made:
        name = place.workload(made)
        for _ in range(2):
            answer = httpx.get(place.url(name), headers=place.headers, timeout=30)
            assert answer.status_code in (502, 503)
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["detail"]
    with raw_pod(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as good:
        place.pods(name, good, gone=made)
        wait_for(lambda: httpx.get(place.url(name), headers=place.headers, timeout=30).status_code == 200, "the next pod")


def test_an_answer_that_breaks_off_isnt_taken_for_a_whole_one(place: Place) -> None:
    for began in (b"content-length: 1000", b"transfer-encoding: chunked"):
        with raw_pod(lambda _, began=began: b"HTTP/1.1 200 OK\r\n" + began + b"\r\n\r\n3\r\nabc\r\n", hang_up=True) as made:
            name = place.workload(made)
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(place.url(name), headers=place.headers, timeout=30)


def test_a_pod_that_speaks_tls(place: Place, tmp_path: Path) -> None:
    with pod(tmp_path) as made:
        name = place.serving(made)
        answer = httpx.get(place.url(name, "/x?y=1"), headers=place.headers, timeout=30)
        assert answer.json()["path"] == "/x?y=1"
        assert answer.json()["headers"]["x-forwarded-prefix"] == place.prefix(name)


def test_slow_bodies_and_silence_within_the_limit(place: Place, name: str, short_idle_timeout: int) -> None:
    """A request may last longer than the idle timeout as long as something moves."""

    def pieces() -> Iterator[bytes]:
        for _ in range(6):
            yield b"x" * 1000
            time.sleep(1)

    with ThreadPoolExecutor(3) as pool:
        up = pool.submit(httpx.post, place.url(name, "/upload"), headers=place.headers, content=pieces(), timeout=30)
        down = pool.submit(httpx.get, place.url(name, "/drip?pieces=6&pause=1"), headers=place.headers, timeout=30)
        silent = pool.submit(httpx.get, place.url(name, "/silent?seconds=2"), headers=place.headers, timeout=30)
        assert up.result().json()["size"] == 6000
        assert len(down.result().content) == 6000
        assert silent.result().text == "done"


def test_silence_beyond_the_limit(place: Place, name: str, short_idle_timeout: int) -> None:
    for _ in range(2):
        answer = httpx.get(place.url(name, "/silent?seconds=20"), headers=place.headers, timeout=30)
        assert answer.status_code == 504
        assert answer.headers["content-type"] == "application/json"
        assert "detail" in answer.json()


async def test_a_websocket_is_cut_when_it_is_silent_for_too_long(place: Place, name: str, short_idle_timeout: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(place.url(name, "/ws"), headers=place.headers) as socket:
        for _ in range(5):
            await asyncio.sleep(1)
            await socket.send_str("still there")
            assert await socket.receive_str(timeout=10) == "still there"
        message = await socket.receive(timeout=20)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


def test_what_a_pod_has_seen_is_never_repeated(place: Place, name: str) -> None:
    with raw_pod(lambda _: None) as first, raw_pod(lambda _: None) as second:
        broken = place.workload(first, second)
        for number in range(6):
            path = f"/{number}"
            answer = httpx.post(place.url(broken, path), headers=place.headers, content=b"do it once", timeout=30)
            assert answer.status_code in (502, 503)
            assert "detail" in answer.json()
            heads = bytes(first.raw + second.raw)
            assert heads.count(f"POST {path} HTTP/1.1".encode()) == 1


def test_an_idle_connection_is_closed_before_the_pod_does_it(place: Place) -> None:
    """A request must not meet a connection that uvicorn or Node.js closes, as they do after five seconds."""
    with raw_pod(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as made:
        place.serving(made)
        wait_for(lambda: len(made.left) == made.connections, "Envoy to close it", 10)
        assert max(made.left) < 5


def test_a_pod_that_refuses_connections_costs_nobody_an_answer(place: Place) -> None:
    with ExitStack() as stack:
        good, gone = stack.enter_context(pod()), Pod(free_ports(1)[0])
        name = place.workload(good, gone)
        with place.client() as client:
            answers = Counter(client.post(place.prefix(name) + "/x", content=b"x" * 2000).status_code for _ in range(60))
        assert answers == {200: 60}


def test_pods_come_and_go_under_load(place: Place) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(pod()) for _ in range(3)]
        name = place.serving(pods[0])
        answers: Counter[str] = Counter()
        by: Counter[int] = Counter()
        stop = threading.Event()

        def ask(number: int) -> None:
            with place.client() as client:
                while not stop.is_set():
                    try:
                        path = "/silent?seconds=0.3" if number == 0 else "/x"
                        answer = client.post(place.prefix(name) + path, content=b"x" * 2000)
                        answers[str(answer.status_code)] += 1
                        if number and answer.status_code == 200:
                            by[answer.json()["by"]] += 1
                    except httpx.HTTPError as error:
                        answers[repr(error)] += 1
                    time.sleep(0.01)

        with ThreadPoolExecutor(6) as pool:
            for number in range(6):
                pool.submit(ask, number)
            for number in range(1, 10):
                coming, going = pods[number % 3], pods[(number - 1) % 3]
                place.pods(name, coming)
                place.pods(name, leaving=going)
                time.sleep(0.2)
                place.pods(name, gone=going)
            stop.set()
        assert set(answers) == {"200"}, answers
        assert set(by) == {one.port for one in pods}


def test_the_last_pod_goes(place: Place) -> None:
    """As long as it serves still, it gets what Envoy lets pass by memory; what is asked about waits for the next pod."""
    with pod() as last, pod() as following, place.client() as first, place.client() as second, ThreadPoolExecutor(1) as pool:
        name, kept = place.serving(last), (first, second)

        def call(client: httpx.Client, number: int, seconds: float) -> int | None:
            """The same token in other words is another memory."""
            headers = {"Authorization": "Bearer" + " " * (number + 1) + place.token}
            try:
                return client.get(place.prefix(name) + f"/{number}", headers=headers, timeout=seconds).status_code
            except httpx.TimeoutException:
                return None

        going = pool.submit(place.pods, name, leaving=last)
        # One connection is one worker of Envoy's, which has the memory; the one whose request is held is lost.
        for number in range(500):
            if call(kept[number % 2], number, 1.5) is None:
                break
            time.sleep(0.05)
        remembered = number - 1
        assert call(kept[remembered % 2], remembered, 5) == 200, "what Envoy remembers doesn't reach the pod that serves still"
        going.result()
        assert last.paths().count(f"/{remembered}") == 2
        with place.client() as waiting:
            held = pool.submit(call, waiting, 2000, 30)
            time.sleep(1)
            assert not held.done()
            place.pods(name, following)
            assert held.result() == 200
        assert following.paths() == ["/2000"]


def transfer(place: Place, name: str, mib: int) -> None:
    """Upload and download that much; Envoy's memory must not grow with it."""
    assert place.gateway.envoy is not None
    pid, before, most = place.gateway.envoy.pid, resident_mib(place.gateway.envoy.pid), 0.0
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        nonlocal most
        for number in range(mib):
            piece = number.to_bytes(4, "big") * (MIB // 4)
            digest.update(piece)
            yield piece
            most = max(most, resident_mib(pid))

    with place.client(timeout=120) as client:
        said = client.post(place.prefix(name) + "/upload", content=pieces()).json()
        assert said == {"size": mib * MIB, "sha256": digest.hexdigest()}
        size = 0
        with client.stream("GET", place.prefix(name) + f"/download?mib={mib}") as answer:
            for piece in answer.iter_raw(MIB):
                size += len(piece)
                most = max(most, resident_mib(pid))
        assert size == mib * MIB
    assert most - before < FLAT_MIB


@pytest.mark.parametrize("mib", [50, pytest.param(1024, marks=pytest.mark.long)])
def test_large_bodies(place: Place, name: str, mib: int) -> None:
    transfer(place, name, mib)


def test_a_pod_that_doesnt_read_stops_the_client_not_the_memory(place: Place, name: str) -> None:
    """What a container doesn't take is not taken from the client either."""
    assert place.gateway.envoy is not None
    pid = place.gateway.envoy.pid
    before, given = resident_mib(pid), [0] * 4

    def pieces(number: int) -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(MIB)
            given[number] += 1

    with ThreadPoolExecutor(4) as pool:
        path = place.url(name, "/silent?seconds=3")
        uploads = [pool.submit(httpx.post, path, headers=place.headers, content=pieces(number), timeout=60) for number in range(4)]
        time.sleep(2)
        assert resident_mib(pid) - before < FLAT_MIB
        assert max(given) < 50
        wait_for(lambda: all(upload.done() for upload in uploads), "the pod to answer")


def test_a_slow_reader_stops_the_pod_not_the_memory(place: Place, name: str) -> None:
    """Who doesn't read what he asked for costs a buffer, not the whole answer."""
    assert place.gateway.envoy is not None
    pid = place.gateway.envoy.pid
    before = resident_mib(pid)
    with place.client() as client, ExitStack() as stack:
        for _ in range(4):
            answer = stack.enter_context(client.stream("GET", place.prefix(name) + "/download?mib=100"))
            assert answer.status_code == 200
        time.sleep(2)
        assert resident_mib(pid) - before < FLAT_MIB
