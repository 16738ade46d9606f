from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.kube.errors import (
    ApiError,
    Conflict,
    Fenced,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    error_of,
    error_of_response,
)
from roadstead.kube.resource import CRDS, DEPLOYMENTS, PODS, Body, Resource
from tests.unit.kube.fake import ScriptedApi, Step, answer, break_off, lists, refuse, thing, watch


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (DEPLOYMENTS, (), "/apis/apps/v1/deployments"),
        (DEPLOYMENTS, ("ns",), "/apis/apps/v1/namespaces/ns/deployments"),
        (DEPLOYMENTS, ("ns", "d", "scale"), "/apis/apps/v1/namespaces/ns/deployments/d/scale"),
        (PODS, ("ns", "p"), "/api/v1/namespaces/ns/pods/p"),
        (CRDS, (None, "c"), "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/c"),
        (CRDS, ("ignored", "c"), "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/c"),
    ],
)
def test_paths(resource: Resource, arguments: tuple[str | None, ...], path: str) -> None:
    assert resource.path(*arguments) == path


@pytest.mark.parametrize("arguments", [(None, "name"), ("", "name"), ("ns", None, "status")])
def test_paths_that_would_mean_something_else(arguments: tuple[str | None, ...]) -> None:
    with pytest.raises(ValueError, match="needs a"):
        DEPLOYMENTS.path(*arguments)


@pytest.mark.parametrize(
    ("code", "kind", "transient"),
    [
        (400, ApiError, False),
        (401, Unauthorized, False),
        (403, Forbidden, False),
        (404, NotFound, False),
        (409, Conflict, True),
        (410, Gone, True),
        (422, Invalid, False),
        (429, TooManyRequests, True),
        (500, ServerError, True),
        (504, ServerError, True),
    ],
)
def test_errors(code: int, kind: type[ApiError], transient: bool) -> None:
    error = error_of({"code": code, "reason": "R", "message": "m"})
    assert type(error) is kind
    assert (error.status, error.reason, error.message, error.transient) == (code, "R", "m", transient)


def test_causes_and_retry_after_of_a_status() -> None:
    details = {"causes": [{"field": "spec.x", "message": "bad"}], "retryAfterSeconds": 3}
    error = error_of_response(422, {}, b'{"kind":"Status","details":' + str(details).replace("'", '"').encode() + b"}")
    assert error.causes == ("spec.x: bad",)
    assert error.retry_after == 3


@pytest.mark.parametrize("payload", [b"<html>bad gateway</html>", b"[]", b'{"foo": 1}', b"\xff\xfe"])
def test_answers_that_are_not_the_apis(payload: bytes) -> None:
    assert isinstance(error_of_response(502, {}, payload), ServerError)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)
def test_retry_after_in_both_forms(header: str, seconds: float | None) -> None:
    assert error_of_response(429, {"Retry-After": header}, b"").retry_after == seconds


async def test_calls_carry_what_the_api_wants(api: ScriptedApi, client: ApiClient) -> None:
    body = thing("d")
    api.will(*[answer(body)] * 8)
    await client.apply(DEPLOYMENTS, "ns", body, field_manager="me", dry_run=True)
    await client.create(DEPLOYMENTS, "ns", body, field_manager="me")
    await client.merge_patch(DEPLOYMENTS, "ns", "d", {"status": {}}, subresource="status")
    await client.json_patch(DEPLOYMENTS, "ns", "d", [{"op": "remove", "path": "/x"}])
    await client.replace(DEPLOYMENTS, "ns", body)
    await client.delete(DEPLOYMENTS, "ns", "d", uid="u", resource_version="5")
    await client.delete(DEPLOYMENTS, "ns", "d", uid=None, propagation="Foreground")
    assert await client.get(DEPLOYMENTS, "ns", "d") == body
    root = "/apis/apps/v1/namespaces/ns/deployments"
    assert [(request.method, request.path_qs, request.content_type) for request in api.requests] == [
        ("PATCH", f"{root}/d?fieldManager=me&force=true&dryRun=All", "application/apply-patch+yaml"),
        ("POST", f"{root}?fieldManager=me", "application/json"),
        ("PATCH", f"{root}/d/status", "application/merge-patch+json"),
        ("PATCH", f"{root}/d", "application/json-patch+json"),
        ("PUT", f"{root}/d", "application/json"),
        ("DELETE", f"{root}/d", "application/json"),
        ("DELETE", f"{root}/d", "application/json"),
        ("GET", f"{root}/d", "application/octet-stream"),
    ]
    assert api.bodies[5] == {"propagationPolicy": "Background", "preconditions": {"uid": "u", "resourceVersion": "5"}}
    assert api.bodies[6] == {"propagationPolicy": "Foreground"}
    assert client.calls == {
        ("apply", "deployments", 200): 1,
        ("create", "deployments", 200): 1,
        ("patch", "deployments", 200): 2,
        ("update", "deployments", 200): 1,
        ("delete", "deployments", 200): 2,
        ("get", "deployments", 200): 1,
    }


async def test_list_items_get_their_kind(api: ScriptedApi, client: ApiClient) -> None:
    api.will(lists(thing("a"), go_on="x"), lists(thing("b"), version="11"))
    pages = [page async for page in client.pages(DEPLOYMENTS, field_selector="metadata.name=a")]
    assert [(item["apiVersion"], item["kind"]) for page in pages for item in page.items] == [("apps/v1", "Deployment")] * 2
    assert pages[-1].resource_version == "11"
    assert api.requests[1].query["fieldSelector"] == "metadata.name=a"


async def test_deleting_what_is_gone_is_success(api: ScriptedApi, client: ApiClient) -> None:
    api.will(refuse(404))
    await client.delete(PODS, "ns", "p", uid="u")


@pytest.mark.parametrize(
    ("step", "verb", "tries"),
    [
        pytest.param(refuse(429), "create", 3, id="429: not carried out, so anything may be repeated"),
        pytest.param(refuse(503), "get", 3, id="503 read"),
        pytest.param(refuse(503), "apply", 3, id="503 apply"),
        pytest.param(refuse(503), "merge", 3, id="503 merge"),
        pytest.param(refuse(503), "create", 1, id="503 create: perhaps carried out"),
        pytest.param(refuse(503), "json", 1, id="503 json patch: perhaps carried out"),
        pytest.param(refuse(500), "get", 1, id="500"),
        pytest.param(refuse(409), "apply", 1, id="409"),
        pytest.param(refuse(422), "apply", 1, id="422"),
        pytest.param(refuse(401), "get", 1, id="401 with a token that stays the same"),
        pytest.param(break_off(), "apply", 3, id="lost: apply"),
        pytest.param(break_off(), "create", 1, id="lost: create"),
        pytest.param(break_off(), "delete", 3, id="lost: delete"),
        pytest.param(break_off(), "delete any", 1, id="lost: delete of whatever bears the name"),
        pytest.param(refuse(429, retry_after="60"), "get", 1, id="a pause too long to hold the caller up"),
    ],
)
async def test_what_is_repeated(api: ScriptedApi, client: ApiClient, step: Step, verb: str, tries: int) -> None:
    api.will(*[step] * 10)
    call: Callable[[], Awaitable[Body | None]] = {
        "get": lambda: client.get(PODS, "ns", "p"),
        "apply": lambda: client.apply(PODS, "ns", thing("p"), field_manager="me"),
        "create": lambda: client.create(PODS, "ns", thing("p")),
        "merge": lambda: client.merge_patch(PODS, "ns", "p", {}),
        "delete": lambda: client.delete(PODS, "ns", "p", uid="u"),
        "delete any": lambda: client.delete(PODS, "ns", "p", uid=None),
        "json": lambda: client.json_patch(PODS, "ns", "p", []),
    }[verb]
    with pytest.raises(ApiError):
        await call()
    assert len(api.requests) == tries


async def test_a_json_patch_that_does_not_fit_is_a_conflict(api: ScriptedApi, client: ApiClient) -> None:
    causes = {"causes": [{"field": "spec.x", "message": "bad"}]}
    api.will(refuse(422), answer({"kind": "Status", "code": 422, "details": causes}, 422))
    with pytest.raises(Conflict):
        await client.json_patch(PODS, "ns", "p", [])
    with pytest.raises(Invalid):
        await client.json_patch(PODS, "ns", "p", [])


async def test_retry_after_is_honoured(api: ScriptedApi, client: ApiClient) -> None:
    api.will(refuse(429, retry_after="8"), answer(thing("p")))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await client.get(PODS, "ns", "p")
    assert 8 <= loop.time() - began < 9


async def test_an_unanswered_call_times_out(api: ScriptedApi, client: ApiClient) -> None:
    api.will(*[watch()] * 3)
    with pytest.raises(Unreachable):
        await client.get(PODS, "ns", "p")
    assert client.calls == {("get", "pods", 0): 3}


async def test_nobody_listens() -> None:
    async with ApiClient(ClusterConfig("http://127.0.0.1:1"), user_agent="test") as client:
        with pytest.raises(Unreachable) as caught:
            await client.create(PODS, "ns", thing("p"))
    assert not caught.value.sent
    assert client.calls == {("create", "pods", 0): 3}


async def test_a_client_that_was_not_entered() -> None:
    with pytest.raises(RuntimeError):
        await ApiClient(ClusterConfig("http://127.0.0.1:1"), user_agent="test").get(PODS, "ns", "p")


async def test_the_fence_holds_back_every_try_of_a_write_and_no_read(api: ScriptedApi) -> None:
    leading = True

    def fence() -> None:
        if not leading:
            raise Fenced("lapsed")

    async with ApiClient(ClusterConfig(api.url), user_agent="test", fence=fence) as client:
        api.will(refuse(429, retry_after="5"), answer(thing("p")))
        write = asyncio.create_task(client.apply(PODS, "ns", thing("p"), field_manager="me"))
        await asyncio.sleep(1)
        leading = False  # lapses while the write waits for its second try
        with pytest.raises(Fenced):
            await write
        assert len(api.requests) == 1
        await client.get(PODS, "ns", "p")


async def test_the_fence_is_asked_after_the_wait_for_a_slot(api: ScriptedApi) -> None:
    leading = True

    def fence() -> None:
        if not leading:
            raise Fenced("lapsed")

    async with ApiClient(ClusterConfig(api.url), user_agent="test", fence=fence, max_in_flight=1) as client:
        api.will(watch())  # never answered: takes the only slot until it times out
        blocked = asyncio.create_task(client.create(PODS, "ns", thing("a")))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(client.create(PODS, "ns", thing("b")))
        await asyncio.sleep(0.1)
        leading = False
        with pytest.raises(Unreachable):
            await blocked
        with pytest.raises(Fenced):
            await waiting
    assert len(api.requests) == 1


async def test_the_fence_is_asked_right_before_sending(api: ScriptedApi) -> None:
    leading = iter((True, False))  # lapses while a connection is made

    def fence() -> None:
        if not next(leading):
            raise Fenced("lapsed")

    async with ApiClient(ClusterConfig(api.url), user_agent="test", fence=fence) as client:
        with pytest.raises(Fenced):
            await client.merge_patch(PODS, "ns", "p", {"spec": {}})
        api.will(answer(thing("p")))
        await client.get(PODS, "ns", "p")
    assert [request.method for request in api.requests] == ["GET"]


async def test_at_most_so_many_calls_in_flight_not_counting_watches(api: ScriptedApi) -> None:
    async with ApiClient(ClusterConfig(api.url), user_agent="test", max_in_flight=2) as client:
        watching = [asyncio.create_task(anext(client.watch(PODS, resource_version="1"))) for _ in range(3)]
        await asyncio.sleep(0.5)
        api.will(*[watch()] * 5)
        calls = [asyncio.create_task(client.create(PODS, "ns", thing("p"))) for _ in range(5)]
        await asyncio.sleep(1)
        assert len(api.requests) == 3 + 2
        for task in (*watching, *calls):
            task.cancel()
        await asyncio.gather(*watching, *calls, return_exceptions=True)
