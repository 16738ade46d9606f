"""Clients that mean harm, or are broken in a way that looks like it: they cost others nothing, and learn and wake nothing."""

from __future__ import annotations

import resource
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import audit_position, wait_for, writes
from tests.support.gateways import Replica, figure, gateway_access, running_gateway
from tests.support.memory import FLAT_MIB, resident_mib
from tests.support.place import Place
from tests.support.pods import Pod, grpc_pod
from tests.support.raw_http import connected, detail, request, sent, status, warmed
from tests.support.rest import account

HEAD_SECONDS = 2


@pytest.fixture(scope="module")
def gateway(cluster: ControlCluster) -> Iterator[Replica]:
    """One that gives a request's head two seconds to arrive."""
    with running_gateway(cluster, gateway_access(cluster), envoy_settings={"headers_seconds": float(HEAD_SECONDS)}) as running:
        yield running


def test_heads_that_are_too_large(place: Place, name: str, served: Pod) -> None:
    own = place.prefix(name)
    warmed(place, own + "/warm")
    before = len(served.seen)
    for lines in ([f"X-Large: {'x' * 70_000}"], [f"X-{number}: x" for number in range(200)]):
        said = sent(place.gateway, request(place, own + "/x", *lines))
        assert status(said) == 431, said[:200]
        assert detail(said)
    said = sent(place.gateway, request(place, own + "/" + "x" * 70_000))
    assert status(said) in (414, 431), said[:200]
    assert detail(said)
    assert len(served.seen) == before
    assert status(sent(place.gateway, request(place, own + "/x", f"X-Large: {'x' * 40_000}"))) == 200


def test_heads_that_never_end(place: Place, name: str) -> None:
    """Closed when their time is over, however steadily they drip; somebody else is served meanwhile."""
    own = place.prefix(name)
    begun = request(place, own + "/x")[:-2]
    with connected(place.gateway, 20) as one, connected(place.gateway, 20) as other:
        one.sendall(begun)
        other.sendall(begun[:10])
        since = time.monotonic()
        for _ in range(HEAD_SECONDS * 10):
            try:
                other.sendall(b"X")
            except ConnectionError:
                break
            time.sleep(0.2)
        assert status(sent(place.gateway, request(place, own + "/x"))) == 200
        for connection in (one, other):
            said = b""
            try:
                while piece := connection.recv(65536):
                    said += piece
            except ConnectionError:
                pass
            if said:
                assert status(said) == 408
                assert detail(said)
        assert time.monotonic() - since > HEAD_SECONDS - 0.5


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_idle_connections(place: Place, name: str, count: int) -> None:
    """Somebody else is served, and memory is given back: some KiB for each."""
    assert place.gateway.envoy is not None
    pid = place.gateway.envoy.pid
    before = resident_mib(pid)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as stack:
        kept = [stack.enter_context(connected(place.gateway)) for _ in range(count)]
        for connection in kept[::2]:  # some have asked before
            connection.sendall(request(place, "/healthz").replace(b"Connection: close\r\n", b""))
        for _ in range(20):
            assert status(sent(place.gateway, request(place, place.prefix(name) + "/x"))) == 200
        assert resident_mib(pid) - before < FLAT_MIB + count * 0.03
        for connection in kept[::2]:
            assert status(connection.recv(4096)) == 200


def woken(place: Place) -> tuple[float, float]:
    """Wakes that began, and requests that wait."""
    return figure(place.gateway, 'roadstead_gateway_wakes_total{outcome="begun"}'), figure(place.gateway, "roadstead_gateway_held_requests")


def test_ids_that_nobody_has(place: Place, cluster: ControlCluster, name: str) -> None:
    """A loop over them costs the API server nothing, and memory nothing that lasts."""
    assert place.gateway.process is not None
    assert place.gateway.envoy is not None
    pids = (place.gateway.process.pid, place.gateway.envoy.pid)

    def guess(count: int) -> Counter[int]:
        with place.client() as client:
            paths = (f"/api/v2/endpoints/{kind}/{secrets.token_hex(12)}/x" for _ in range(count) for kind in ("workloads", "deployments"))
            return Counter(client.get(path).status_code for path in paths)

    assert guess(20) == {404: 40}
    before, position, woken_before = [resident_mib(pid) for pid in pids], audit_position(cluster), woken(place)
    with ThreadPoolExecutor(20) as pool:  # each answer takes 50 ms, whatever there is
        assert sum(pool.map(guess, [50] * 20), Counter()) == {404: 2000}
    asked = writes(cluster, position, agent="roadstead-gateway")
    assert len(asked) <= 4, Counter(what for _, what, _, _ in asked)  # the token alone, anew every few seconds
    assert woken(place) == woken_before
    for pid, then in zip(pids, before, strict=True):
        assert resident_mib(pid) - then < 16


def test_tokens_that_nobody_has(place: Place, cluster: ControlCluster, name: str, served: Pod) -> None:
    """Guesses are slowed down, cost the API server no more than a few reviews, and are nobody's way in; nor do they shut out who is new."""
    new = {"Authorization": f"Bearer {account(cluster, place.namespace, f'n{uuid.uuid4().hex[:6]}', 'roadstead-invoke')}"}
    position, before = audit_position(cluster), len(served.seen)
    answers: Counter[int] = Counter()
    with httpx.Client(timeout=30) as client:
        for _ in range(400):
            address = ".".join(str(secrets.randbelow(256)) for _ in range(4))  # which it may say, and nobody believes
            headers = {"Authorization": f"Bearer {secrets.token_hex(20)}", "X-Forwarded-For": address, "X-Real-IP": address}
            answers[client.get(place.url(name, "/x"), headers=headers).status_code] += 1
        seen = len(served.seen)
        assert client.get(place.url(name, "/x"), headers=new).status_code == 200
    assert set(answers) <= {401, 429}
    assert answers[429] > 100
    assert len(writes(cluster, position, agent="roadstead-gateway")) < 400
    assert seen == before
    assert status(sent(place.gateway, request(place, place.prefix(name) + "/x"))) == 200, "a good token suffers for it"


def test_what_a_caller_may_not_see_isnt_there(place: Place, cluster: ControlCluster, name: str, asleep: str, served: Pod) -> None:
    """A stranger's token on others' ids: as if nobody had them; nothing is woken, and KEDA hears of no demand."""
    stranger = {"Authorization": f"Bearer {account(cluster, place.namespace, f's{uuid.uuid4().hex[:6]}')}"}
    warmed(place, place.prefix(name) + "/warm")
    before, seen = woken(place), len(served.seen)
    nobody = httpx.get(f"{place.gateway.url}/api/v2/endpoints/workloads/{'f' * 24}/", headers=stranger, timeout=30)
    for workload in (name, asleep):
        for _ in range(8):
            answer = httpx.get(place.url(workload), headers=stranger, timeout=30)
            assert answer.status_code == nobody.status_code == 404
            assert answer.text.replace(place.prefix(workload).rpartition("/")[2], "f" * 24) == nobody.text
    assert woken(place) == before
    assert len(served.seen) == seen


def test_who_leaves_isnt_waited_for(place: Place, asleep: str) -> None:
    """Requests for a Workload at zero whose callers hang up leave nothing behind but the wake."""
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(place.gateway)).sendall(request(place, place.prefix(asleep) + "/x"))
        wait_for(lambda: woken(place)[1] == 20, "all to be held")
    wait_for(lambda: woken(place)[1] == 0, "none to be held")


def test_local_replies_to_grpc_have_a_status(place: Place) -> None:
    """What isn't the container's word is one that gRPC clients understand."""
    with grpc.insecure_channel(place.gateway.url.removeprefix("http://")) as channel:

        def code(path: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path + "/test.Echo/Unary")(b"", metadata=metadata, timeout=30)
            return caught.value.code()

        bearer = ("authorization", f"Bearer {place.token}")
        with grpc_pod() as made:
            gone = place.prefix(place.workload(made))
            assert channel.unary_unary(gone + "/test.Echo/Unary")(b"x", metadata=[bearer], timeout=30) == b"x"
        assert code(gone, bearer) is grpc.StatusCode.UNAVAILABLE
        assert code(gone) is grpc.StatusCode.UNAUTHENTICATED
        assert code(place.prefix("nobody"), bearer) is grpc.StatusCode.UNIMPLEMENTED
        assert code("/nothing", bearer) is grpc.StatusCode.UNIMPLEMENTED
    lines = ("Content-Type: application/grpc", "TE: trailers")
    for path in (place.prefix("nobody"), "/nothing"):
        said = sent(place.gateway, request(place, path + "/test.Echo/Unary", *lines, method="POST"))
        assert status(said) == 200
        assert b"grpc-status: 12" in said.lower()
