"""The gateway as a whole on a real API server: Envoy, the process beside it, and who waits for the first pod."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.gateways import figure
from tests.support.place import Place
from tests.support.pods import Pod


def test_a_request_reaches_the_pod(place: Place, served: Pod) -> None:
    name = place.workload(served)
    with place.client() as client:
        answer = client.get(place.prefix(name) + "/a/b%2Fc?q=1%202")
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["path"] == "/a/b%2Fc?q=1%202"
        assert "authorization" not in said["headers"]
        assert said["headers"]["x-forwarded-prefix"] == place.prefix(name)
        assert said["headers"]["x-roadstead-user"] == f"system:serviceaccount:{place.namespace}:caller"
        again = client.get(place.prefix(name) + "/")
        assert again.status_code == 200
        assert client.get(place.prefix("nothing") + "/").status_code == 404
    assert httpx.get(place.url(name)).status_code == 401


def test_a_request_waits_for_the_first_pod(place: Place, served: Pod) -> None:
    name, before = place.workload(), len(served.seen)
    phases = ("ready", "total")
    counted = [figure(place.gateway, f'roadstead_gateway_cold_start_seconds_count{{phase="{phase}"}}') for phase in phases]
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(httpx.get, place.url(name), headers=place.headers, timeout=30) for _ in range(20)]
        time.sleep(2)
        assert not any(one.done() for one in waiting)
        place.pods(name, served)
        answers = [one.result() for one in waiting]
    assert {answer.status_code for answer in answers} == {200}
    assert all("total=" in answer.headers["x-roadstead-cold-start"] for answer in answers)
    assert len(served.seen) - before == 20
    told = [figure(place.gateway, f'roadstead_gateway_cold_start_seconds_count{{phase="{phase}"}}') for phase in phases]
    assert told == [count + 1 for count in counted], "one cold start, however many waited for it"
