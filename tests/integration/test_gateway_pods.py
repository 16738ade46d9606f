"""Pods that come, go, break off or talk nonsense behind the gateway: callers get an answer, and no request is done twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from hack.cluster.control import free_ports
from tests.clusters import wait_for
from tests.support.place import Place
from tests.support.pods import Pod, pod, raw_pod


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
    """A request must not meet a connection that the server closes: gunicorn does so after two seconds, others later."""
    with raw_pod(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as made:
        place.serving(made)
        wait_for(lambda: len(made.left) == made.connections, "Envoy to close it", 10)
        assert max(made.left) < 2


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
