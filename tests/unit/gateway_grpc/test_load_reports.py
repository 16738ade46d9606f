"""Load reports over a real gRPC stream: what is said of clusters that a report leaves out, and that nothing is kept of Envoys gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc

from roadstead.gateway.envoy.load_reports import LoadReports
from roadstead.gateway.ledger.ledger import Ledger

A, B = "w-0123456789abcdef01234567", "d-0123456789abcdef01234567"


class Told:
    """Everything that is told, in order; ``None`` in a cluster's place is the end of a report."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None, int, int, int]] = []
        self.heard = asyncio.Event()

    def report(self, node: str, cluster: str, in_progress: int, issued: int, errors: int) -> None:
        self.said.append((node, cluster, in_progress, issued, errors))

    def reported(self, node: str) -> None:
        self.said.append((node, None, 0, 0, 0))
        self.heard.set()

    async def next(self) -> list[tuple[str, str | None, int, int, int]]:
        """What the next report says."""
        async with asyncio.timeout(10):
            await self.heard.wait()
        self.heard.clear()
        said, self.said = self.said, []
        return said


@asynccontextmanager
async def serving(reports: LoadReports) -> AsyncIterator[lrs_pb2_grpc.LoadReportingServiceStub]:
    server = grpc.aio.server()
    lrs_pb2_grpc.add_LoadReportingServiceServicer_to_server(reports, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield lrs_pb2_grpc.LoadReportingServiceStub(channel)
    await server.stop(None)


def report(node: str, **clusters: tuple[int, int]) -> Any:
    """Requests under way and begun, by cluster (``A``, ``B``)."""
    made = lrs_pb2.LoadStatsRequest()
    made.node.id = node
    for name, (in_progress, issued) in clusters.items():
        part = made.cluster_stats.add(cluster_name={"A": A, "B": B}[name]).upstream_locality_stats.add()
        part.total_requests_in_progress, part.total_issued_requests = in_progress, issued
    return made


async def test_what_a_report_leaves_out_has_no_requests_any_more() -> None:
    told = Told()
    async with serving(LoadReports(told)) as stub:
        stream = stub.StreamLoadStats()
        await stream.write(report("one", A=(2, 2), B=(0, 1)))
        assert await told.next() == [("one", A, 2, 2, 0), ("one", B, 0, 1, 0), ("one", None, 0, 0, 0)]
        await stream.write(report("one", A=(2, 0), B=(0, 0)))
        assert await told.next() == [("one", A, 2, 0, 0), ("one", None, 0, 0, 0)]
        await stream.write(report("one"))
        assert await told.next() == [("one", A, 0, 0, 0), ("one", None, 0, 0, 0)]
        stream.cancel()


async def test_nothing_is_kept_of_an_envoy_that_has_gone() -> None:
    told = Told()
    reports = LoadReports(told)
    kept = {name: repr(value) for name, value in vars(reports).items()}
    async with serving(reports) as stub:
        for number in range(20):
            stream = stub.StreamLoadStats()
            await stream.write(report(f"gateway-{number}", A=(2, 2)))
            await told.next()
            stream.cancel()
    assert {name: repr(value) for name, value in vars(reports).items()} == kept


async def test_requests_that_ended_while_an_envoy_was_away_are_over() -> None:
    """It reports to another process for a while; what it then doesn't name any more is nobody's."""
    ledger = Ledger("a")
    async with serving(LoadReports(ledger)) as stub:
        for named in ({"A": (2, 2), "B": (1, 1)}, {"B": (1, 0)}):
            stream = stub.StreamLoadStats()
            await stream.write(report("one", **named))
            async with asyncio.timeout(10):
                while not ledger.knows("one") or ledger.in_flight([A]) != named.get("A", (0, 0))[0]:  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0.01)
            assert ledger.in_flight([B]) == 1
            stream.cancel()


async def test_a_visitor_is_sent_away_just_after_a_report_when_the_process_is_about_to_end() -> None:
    """What it says while it is being sent away would be lost: until the next report it has heard."""
    told = Told()
    reports = LoadReports(told, visit_seconds=60)
    async with serving(reports) as stub:
        visitor = stub.StreamLoadStats()
        await visitor.write(report("one", A=(2, 2)))
        await told.next()
        assert await visitor.read() is not grpc.aio.EOF  # what it is to report
        reports.leaving = True
        going = asyncio.ensure_future(visitor.read())
        assert not (await asyncio.wait([going], timeout=0.3))[0]  # not before it has reported
        await visitor.write(report("one", A=(1, 1)))
        assert await told.next() == [("one", A, 1, 1, 0), ("one", None, 0, 0, 0)]
        assert await going is grpc.aio.EOF
        newcomer = stub.StreamLoadStats()
        await newcomer.write(report("two", A=(0, 3)))
        assert await told.next() == [("two", A, 0, 3, 0), ("two", None, 0, 0, 0)]
        assert await newcomer.read() is not grpc.aio.EOF  # it counts from now on
        assert await newcomer.read() is grpc.aio.EOF


async def test_the_envoy_beside_the_process_reports_to_the_end() -> None:
    told = Told()
    reports = LoadReports(told)
    reports.leaving = True
    async with serving(reports) as stub:
        stream = stub.StreamLoadStats()
        for number in (1, 2, 3):
            await stream.write(report("one", A=(0, number)))
            assert ("one", A, 0, number, 0) in await told.next()
        stream.cancel()
