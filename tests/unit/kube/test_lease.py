"""Elections in virtual time, against a server that does what matters of a real one: refuse what isn't based on the present version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.kube.errors import Fenced
from roadstead.kube.lease import Elector, monotonic
from roadstead.kube.resource import Body
from tests.unit.kube.fake import ScriptedApi, refuse, until


class LeaseApi(ScriptedApi):
    lease: Body | None = None
    down = False
    """Nothing is answered, as if packets vanished."""
    deaf_after_write = False
    """Writes are carried out but not answered."""

    watched = False
    """Whether watching the Lease is allowed."""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await (self._watch(request) if self.watched else refuse(403)(request))
        self.requests.append(request)
        body: Body = await request.json() if request.can_read_body else {}
        if self.script:
            return await self.script.popleft()(request)
        if self.down:
            await asyncio.sleep(1e6)
        return await self._store(request, body)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """Every change, until the reader has gone."""
        stream, said = web.StreamResponse(), None
        await stream.prepare(request)
        while True:
            if self.lease is not said:
                said = self.lease
                await stream.write(json.dumps({"type": "MODIFIED", "object": said}).encode() + b"\n")
            await asyncio.sleep(0.05)

    async def _store(self, request: web.Request, body: Body) -> web.StreamResponse:
        present = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if request.method == "GET":
            return web.json_response(self.lease) if self.lease else await refuse(404)(request)
        if body["metadata"].get("resourceVersion") != present:
            return await refuse(409, "Conflict")(request)
        self.lease = body | {"metadata": body["metadata"] | {"resourceVersion": str(int(present or 0) + 1)}}
        if self.deaf_after_write:
            await asyncio.sleep(1e6)
        return web.json_response(self.lease)

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


@dataclass
class Candidate:
    elector: Elector
    client: ApiClient
    task: asyncio.Task[None]
    history: list[tuple[str, float]] = field(default_factory=list)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def lease_api() -> AsyncIterator[LeaseApi]:
    async with LeaseApi() as running:
        yield running


@asynccontextmanager
async def standing(api: LeaseApi, name: str) -> AsyncIterator[Candidate]:
    history: list[tuple[str, float]] = []
    async with ApiClient(ClusterConfig(api.url), user_agent=name) as client:
        elector = Elector(
            client,
            namespace="ns",
            name="lock",
            identity=name,
            on_started=lambda: history.append(("started", now())),
            on_stopped=lambda: history.append(("stopped", now())),
            clock=now,
        )
        candidate = Candidate(elector, client, asyncio.create_task(elector.run()), history)
        try:
            yield candidate
        finally:
            await candidate.stop()


async def test_the_first_takes_the_lease_renews_it_and_the_second_waits(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        async with standing(lease_api, "b") as b:
            await asyncio.sleep(120)
            assert a.elector.leading
            assert not b.elector.leading
            assert [what for what, _ in a.history] == ["started"]
            with pytest.raises(Fenced):
                b.elector.fence()
            a.elector.fence()
    assert lease_api.lease is not None
    assert lease_api.lease["spec"]["leaseDurationSeconds"] == 1
    writes = [request for request in lease_api.requests if request.method == "PUT" and request.headers["User-Agent"] == "a"]
    reads = [request for request in lease_api.requests if request.method == "GET" and request.headers["User-Agent"] == "a"]
    assert 50 <= len(writes) <= 65
    assert len(reads) == 1, "who holds the lease needs no read to renew it"


async def test_release_hands_over_at_once(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a, standing(lease_api, "b") as b:
        await until(lambda: a.elector.leading or b.elector.leading)
        first, second = (a, b) if a.elector.leading else (b, a)
        stopped = now()
        await first.stop()
        assert not first.elector.leading
        assert lease_api.holder == ""
        await until(lambda: second.elector.leading)
        assert now() - stopped < 4
        assert lease_api.lease is not None
        assert lease_api.lease["spec"]["leaseTransitions"] == 1


async def test_a_watched_lease_is_taken_the_moment_it_is_given_back(lease_api: LeaseApi) -> None:
    lease_api.watched = True
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        async with standing(lease_api, "b") as b:
            await asyncio.sleep(5)
            assert not b.elector.leading
            stopped = now()
            await a.stop()
            await until(lambda: b.elector.leading)
            assert now() - stopped < 0.5


@pytest.mark.parametrize("leads", [True, False], ids=["renewing", "taking it"])
async def test_a_lease_whose_writing_was_under_way_is_released_too(lease_api: LeaseApi, leads: bool) -> None:
    """The write was carried out but its answer never came: only a look tells what the record says now."""
    lease_api.deaf_after_write = not leads
    async with standing(lease_api, "a") as a:
        if leads:
            await until(lambda: a.elector.leading)
        lease_api.deaf_after_write = True
        before = len(lease_api.requests)
        await until(lambda: len(lease_api.requests) > before + (not leads))
        await asyncio.sleep(0.1)
        assert lease_api.holder == a.elector.identity
        lease_api.deaf_after_write = False
        await a.stop()
    assert lease_api.holder == ""


async def test_a_leader_that_is_cut_off_stops_before_another_starts(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        await asyncio.sleep(20)
        async with LeaseApi() as cut_off, standing(lease_api, "b") as b:
            await asyncio.sleep(5)
            cut_off.down = True
            a.client._transport._config.url = cut_off.url  # only a's packets vanish
            await until(lambda: b.elector.leading)
            assert [what for what, _ in a.history] == ["started", "stopped"]
            assert a.history[1][1] < b.history[0][1]
            assert not a.elector.leading
            assert lease_api.holder == b.elector.identity
            a.client._transport._config.url = lease_api.url
            await asyncio.sleep(30)
            assert b.elector.leading
            assert not a.elector.leading


async def test_short_trouble_costs_nothing(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        lease_api.will(refuse(500), refuse(409, "Conflict"), refuse(403))
        await asyncio.sleep(60)
        assert a.elector.leading
        assert [what for what, _ in a.history] == ["started"]


async def test_a_renewal_without_answer_counts_as_failed_and_is_taken_up_again(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        lease_api.deaf_after_write = True
        await asyncio.sleep(5)
        lease_api.deaf_after_write = False
        await asyncio.sleep(30)
        assert a.elector.leading
        assert [what for what, _ in a.history] == ["started"]


async def test_the_term_counts_from_before_the_renewal_was_sent(lease_api: LeaseApi) -> None:
    arrived = []

    async def slow(request: web.Request) -> web.StreamResponse:
        arrived.append(now())
        await asyncio.sleep(3)
        return await lease_api._store(request, await request.json())

    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        before = a.elector.valid_until
        lease_api.will(slow)
        await until(lambda: a.elector.valid_until > before)
        assert arrived[0] + 9.5 < a.elector.valid_until <= arrived[0] + 10


async def test_a_stopped_process_is_fenced_before_it_notices(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        ahead = 0.0
        a.elector._clock = lambda: now() + ahead
        ahead = 11.0  # SIGSTOP, then SIGCONT: time went on, no code of ours ran
        assert not a.elector.leading
        with pytest.raises(Fenced):
            a.elector.fence()


async def test_another_holder_is_believed_at_once(lease_api: LeaseApi) -> None:
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        assert lease_api.lease is not None
        lease_api.lease["spec"] |= {"holderIdentity": "usurper", "renewTime": "x"}
        lease_api.lease["metadata"]["resourceVersion"] = "1000"
        await until(lambda: not a.elector.leading, 8)
        await a.stop()
        assert lease_api.holder == "usurper", "only what is ours is released"


async def test_an_abandoned_lease_is_taken_after_its_own_duration(lease_api: LeaseApi) -> None:
    lease_api.lease = {
        "metadata": {"name": "lock", "resourceVersion": "5"},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 40, "leaseTransitions": 3, "renewTime": "2001-01-01T00:00:00.000000Z"},
    }
    began = now()
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        # Its renewTime is long ago, but clocks are never compared: it had its 40 seconds from when we first saw it.
        assert 40 <= now() - began < 45
        assert lease_api.lease["spec"]["leaseTransitions"] == 4


async def test_of_many_candidates_never_two_lead(lease_api: LeaseApi) -> None:
    led: set[str] = set()
    async with standing(lease_api, "a") as a, standing(lease_api, "b") as b, standing(lease_api, "c") as c:
        for turn in range(120):
            leaders = [one.elector.identity for one in (a, b, c) if one.elector.leading]
            assert len(leaders) <= 1
            led |= set(leaders)
            lease_api.down = turn % 40 >= 15  # 25 seconds of 40: every term lapses
            await asyncio.sleep(1)
    assert led


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and message of each line so far that an administrator sees."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "roadstead.kube.lease"]


@pytest.mark.parametrize(
    ("code", "awaited"),
    [
        (401, "credentials that the API server accepts"),
        (403, "the right to get, create and update Leases in namespace ns"),
        (404, "namespace ns"),
        (422, "somebody to mend this"),
    ],
)
async def test_what_does_not_pass_is_told_once_and_its_end_too(
    lease_api: LeaseApi, caplog: pytest.LogCaptureFixture, code: int, awaited: str
) -> None:
    caplog.set_level("INFO", "roadstead")
    lease_api.will(*[refuse(code)] * 200)  # a 404 to the reading is none yet; one to the creation is
    async with standing(lease_api, "a") as a:
        await until(lambda: len(lease_api.requests) >= 20)
        assert [level for level, _ in told(caplog)] == ["WARNING"]
        assert f"waits for {awaited} lease=ns/lock: " in told(caplog)[0][1]
        lease_api.script.clear()
        await until(lambda: a.elector.leading)
        assert [level for level, _ in told(caplog)] == ["WARNING", "INFO", "INFO"]
        assert told(caplog)[1][1] == "Trouble with the Lease is over lease=ns/lock"


async def test_each_reason_is_told_once_however_they_alternate(lease_api: LeaseApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "roadstead")
    lease_api.will(*[refuse(403), refuse(422)] * 30)
    async with standing(lease_api, "a"):
        await until(lambda: not lease_api.script)
        assert sum(level == "WARNING" for level, _ in told(caplog)) == 2


@pytest.mark.parametrize("silent", [True, False], ids=["no answer", "500"])
async def test_what_passes_is_told_if_it_does_not(lease_api: LeaseApi, caplog: pytest.LogCaptureFixture, silent: bool) -> None:
    caplog.set_level("INFO", "roadstead")
    lease_api.down = silent
    lease_api.will(*[] if silent else [refuse(500)] * 1000)
    async with standing(lease_api, "a") as a:
        await asyncio.sleep(10)
        assert told(caplog) == []
        await asyncio.sleep(120)
        assert [level for level, _ in told(caplog)] == ["WARNING"]
        assert "waits for the API server lease=ns/lock: " in told(caplog)[0][1]
        lease_api.down = False
        lease_api.script.clear()
        await until(lambda: a.elector.leading)
        assert [level for level, _ in told(caplog)] == ["WARNING", "INFO", "INFO"]


async def test_a_record_that_can_not_be_read_is_told_once(lease_api: LeaseApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "roadstead")
    lease_api.lease = {
        "metadata": {"name": "lock", "resourceVersion": "5"},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": "soon"},
    }
    async with standing(lease_api, "a"):
        await asyncio.sleep(60)
    assert [(record.levelname, bool(record.exc_info)) for record in caplog.records if record.name == "roadstead.kube.lease"] == [
        ("ERROR", True)
    ]


async def test_waiting_for_its_turn_is_no_trouble(lease_api: LeaseApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "roadstead")
    async with standing(lease_api, "a") as a:
        await until(lambda: a.elector.leading)
        async with standing(lease_api, "b"):
            lease_api.will(*[refuse(500), refuse(409, "Conflict")] * 2)
            await asyncio.sleep(120)
            assert not [message for level, message in told(caplog) if level == "WARNING" and "waits for" in message]


def test_terms_that_make_no_sense_are_refused(client: ApiClient) -> None:
    with pytest.raises(ValueError, match="must hold"):
        Elector(
            client,
            namespace="ns",
            name="n",
            identity="i",
            on_started=lambda: None,
            on_stopped=lambda: None,
            renew_deadline_seconds=15.0,
        )


def test_the_clock_counts_suspension_too() -> None:
    assert monotonic() > 0
