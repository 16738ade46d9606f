"""What one bad file, one bad word or one missed answer must not do to the whole process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from roadstead.access.callers import Caller
from roadstead.certificates import renewal
from roadstead.gateway.admin import Admin
from roadstead.gateway.authoriser import passed
from roadstead.gateway.directory import WORKLOAD, Target
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.waking import Go
from roadstead.listener import served
from roadstead.tls import Certificates

W = "w-0123456789abcdef01234567"


def user(name: str) -> str:
    """The header that a container gets."""
    target = Target(WORKLOAD, "0" * 24, "uid", "team", "w", "w", cluster="w-0")
    lines = passed(Caller(name), target, Go()).decode("ascii").split("\r\n")
    return next(line for line in lines if line.startswith("x-roadstead-user: ")).removeprefix("x-roadstead-user: ")


def test_no_two_users_look_alike_to_a_container() -> None:
    names = ["jo", " jo", "jo ", "jos\u00e9", "jos%C3%A9", "jos%25C3%25A9", "jo\r\nx: y", "jo%0D%0Ax: y", "system:serviceaccount:team:a"]
    assert len({user(name).strip() for name in names}) == len(names)
    assert user("system:serviceaccount:team:a") == "system:serviceaccount:team:a"
    assert user("jo@example.org") == "jo@example.org"


def test_certificates_that_do_not_fit_are_not_the_end(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        made = renewal(None, ["roadstead-gateway"], datetime.now(UTC))
        assert made is not None
        for name in names:
            (tmp_path / name).write_bytes(made.data[name])

    write("ca.crt", "tls.crt", "tls.key")
    certificates = Certificates(tmp_path)
    certificates.server()
    first = certificates.present()
    write("tls.crt")  # read in the middle of a renewal
    assert certificates.present() is first
    (tmp_path / "tls.key").unlink()
    assert certificates.present() is first
    write("ca.crt", "tls.crt", "tls.key")
    assert certificates.present() is not first


@pytest.mark.parametrize(
    "answers",
    [
        [(2, 5), None, (0, 5)],
        [(2, 5), None, None, (1, 5), (0, 5), (0, 5)],
        [(0, 5), (0, 6), (0, 7), (1, 8), (0, 8), (0, 8)],
    ],
    ids=["one silence", "two silences", "led here again between two looks"],
)
async def test_a_drain_ends_with_the_last_request(answers: Sequence[tuple[int, int] | None], unused_tcp_port: int) -> None:
    """One unanswered question isn't the end of Envoy, nor one moment without a request that of its clients."""
    left, looked = list(answers), []

    async def stats(_: web.Request) -> web.Response:
        said = left.pop(0) if len(left) > 1 else left[0]
        looked.append(said)
        if said is None:
            return web.Response(status=500)
        figures = {"http.gateway.downstream_rq_active": said[0], "http.gateway.downstream_rq_total": said[1]}
        return web.Response(text="".join(f"{name}: {value}\n" for name, value in figures.items()))

    async with served([web.get("/stats", stats)], unused_tcp_port), Admin(unused_tcp_port) as admin:
        await admin.drained(60)
    assert looked == list(answers)


async def test_a_balancer_that_looks_after_its_backends_does_not_hold_up_the_end(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadstead.gateway.admin.LATE_SECONDS", 2.0)
    begun = 0

    async def stats(_: web.Request) -> web.Response:
        nonlocal begun
        begun += 1
        return web.Response(text=f"http.gateway.downstream_rq_active: 0\nhttp.gateway.downstream_rq_total: {begun}\n")

    async with served([web.get("/stats", stats)], unused_tcp_port), Admin(unused_tcp_port) as admin:
        await admin.drained(60)
    assert begun == 5, "a look each half second, of two seconds"


def test_what_a_process_with_a_wrong_clock_says_does_not_keep_a_workload_awake() -> None:
    now = 1_000_000_000.0
    ahead = Ledger("b", clock=lambda: now + 86_400)
    ahead.report("b", W, 1, 1, 0)
    ahead.set_demand("team/w", 1, waking=True)
    mine = Ledger("a", clock=lambda: now)
    for part in ahead.parts():
        mine.merge(part)
    assert mine.last_request(W) == now
    assert mine.last_demand("team/w") == now


def test_a_clock_that_goes_back_does_not_keep_a_workload_awake() -> None:
    now = [1_000_000_000.0]
    ledger = Ledger("a", clock=lambda: now[0])
    ledger.report("a", W, 9, 9, 0)
    now[0] += 20
    ledger.report("a", W, 0, 0, 0)
    ledger.reported("a")
    assert ledger.mean([W], "team/w") > 1
    now[0] -= 7200
    ledger.prune()
    assert (ledger.last_request(W) or 0.0) <= now[0]
    now[0] += 60
    assert ledger.mean([W], "team/w") == 0


def test_processes_that_nobody_lists_any_more_have_nothing_in_flight() -> None:
    """As after a restart of the container: the file tells of a peer that went while nobody looked."""
    ledger = Ledger("a")
    other = Ledger("b")
    other.report("b", W, 3, 3, 0)
    other.set_demand("team/w", 2, waking=True)
    for part in other.parts():
        ledger.merge(part)
    ledger.report("a", W, 1, 1, 0)
    ledger.reported("a")
    ledger.listed({"a", "b"})
    assert (ledger.in_flight([W]), ledger.held("team/w")) == (4, 2)
    ledger.listed({"a"})
    assert (ledger.in_flight([W]), ledger.held("team/w"), ledger.waking("team/w")) == (1, 0, False)
    with ledger.follow() as changes:
        ledger.listed({"a"})
        assert changes.take() is None, "it is said once"
