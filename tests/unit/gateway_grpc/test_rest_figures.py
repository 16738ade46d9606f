"""The REST face asks gateway processes for figures: real servers on loopback, with certificates."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from roadstead.certificates import dns_names, renewal
from roadstead.counts import SERVICE, Question
from roadstead.rest.figures import GatewayFigures
from roadstead.tls import Certificates
from tests.unit.gateway_grpc.gateway_processes import Fleet, Process, W, serving, until

QUESTION = Question(endpoints=[W])


def certificates(folder: Path) -> Path:
    made = renewal(None, dns_names("roadstead-system", "roadstead-gateway", "roadstead-gateway-peers"), datetime.now(UTC))
    assert made is not None
    folder.mkdir(exist_ok=True)
    for name, content in made.data.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def asked() -> AsyncIterator[list[GatewayFigures]]:
    made: list[GatewayFigures] = []
    yield made
    for one in made:
        await one.close()


def answering(handler: Any) -> Any:
    return grpc.method_handlers_generic_handler(SERVICE, {"Figures": grpc.unary_unary_rpc_method_handler(handler)})


def asking(asked: list[GatewayFigures], processes: Iterable[Process], folder: Path | None) -> GatewayFigures:
    asked.append(GatewayFigures("ipv4:" + ",".join(process.address for process in processes), folder))
    return asked[-1]


async def two(fleet: Fleet, folder: Path) -> tuple[Process, Process]:
    a, b = [await fleet.start(name, certificates=Certificates(folder)) for name in "ab"]
    fleet.introduce("a", "b")
    await until(lambda: a.peers.complete and b.peers.complete, "each other's state")
    return a, b


async def test_any_process_answers_and_any_may_go(fleet: Fleet, folder: Path, asked: list[GatewayFigures]) -> None:
    a, b = await two(fleet, folder)
    figures = asking(asked, (a, b), folder)
    a.ledger.report("a", W, 2, 5, 1)
    await until(lambda: b.ledger.last_hour([W]).value == 5, "b to hear of it")
    for _ in range(4):
        found = await figures.ask(QUESTION)
        assert found is not None
        assert (found.requests, found.server_errors, found.in_flight, found.user_errors) == (5, 1, 2, None)
    await a.kill()
    for _ in range(4):
        found = await figures.ask(QUESTION)
        assert found is not None
        assert found.requests == 5
    await b.kill()
    assert await figures.ask(QUESTION) is None
    again = await fleet.start("b", address=b.address, certificates=Certificates(folder))
    fleet.introduce("b")
    again.ledger.report("b", W, 0, 1, 0)
    async with asyncio.timeout(30):
        while await figures.ask(QUESTION) is None:  # noqa: ASYNC110 - it is about other tasks
            await asyncio.sleep(0.1)


async def test_they_are_found_by_name(fleet: Fleet, folder: Path, asked: list[GatewayFigures]) -> None:
    a, _ = await two(fleet, folder)
    asked.append(figures := GatewayFigures(a.address.replace("127.0.0.1", "localhost"), folder))
    assert await figures.ask(QUESTION) is not None
    asked.append(nowhere := GatewayFigures("roadstead-gateway-peers.invalid:18001", folder))
    assert await nowhere.ask(QUESTION) is None


async def test_one_that_is_still_gathering_is_passed_over(
    fleet: Fleet, folder: Path, asked: list[GatewayFigures], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = [await fleet.start(name, certificates=Certificates(folder)) for name in "ab"]
    figures = asking(asked, (a, b), folder)
    with caplog.at_level(logging.INFO, "roadstead.rest.figures"):
        for _ in range(3):
            assert await figures.ask(QUESTION) is None
        assert [entry.levelname for entry in caplog.records] == ["WARNING"], "said once"
        assert "counts are being gathered" in caplog.text
        b.peers.set_peers([b.address])
        await until(lambda: b.peers.complete, "b to know all there is")
        for _ in range(4):
            assert await figures.ask(QUESTION) is not None
        assert [entry.levelname for entry in caplog.records] == ["WARNING", "INFO"]


async def test_one_that_says_nothing_is_left_for_another(fleet: Fleet, folder: Path, asked: list[GatewayFigures]) -> None:
    a, _ = await two(fleet, folder)
    reached = asyncio.Event()

    async def silence(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        reached.set()
        await asyncio.Event().wait()
        return b""

    async with serving(answering(silence), credentials=Certificates(folder).grpc_server()) as address:
        asked.append(figures := GatewayFigures(f"ipv4:{address},{a.address}", folder))
        for _ in range(200):
            assert await figures.ask(QUESTION) is not None
            if reached.is_set():
                break
            await asyncio.sleep(0.05)  # on a busy machine the connection to it takes longer than to the other
        assert reached.is_set()


async def test_who_has_no_certificate_of_ours_is_told_nothing(
    fleet: Fleet, folder: Path, asked: list[GatewayFigures], tmp_path: Path
) -> None:
    a, _ = await two(fleet, folder)
    assert await asking(asked, (a,), certificates(tmp_path / "others")).ask(QUESTION) is None
    assert await asking(asked, (a,), None).ask(QUESTION) is None


async def test_certificates_may_come_later_and_be_renewed(fleet: Fleet, folder: Path, asked: list[GatewayFigures], tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    a, _ = await two(fleet, folder)
    figures = asking(asked, (a,), mounted)
    assert await figures.ask(QUESTION) is None
    certificates(mounted)
    assert await figures.ask(QUESTION) is None
    shutil.copytree(folder, mounted, dirs_exist_ok=True)
    assert await figures.ask(QUESTION) is not None
    certificates(mounted)
    assert await figures.ask(QUESTION) is None, "what is in the folder now is shown"


async def test_an_answer_that_is_none_is_no_answer(folder: Path, asked: list[GatewayFigures]) -> None:
    async def nonsense(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        return b'{"requests": "many"}'

    async with serving(answering(nonsense), credentials=Certificates(folder).grpc_server()) as address:
        asked.append(figures := GatewayFigures(f"ipv4:{address}", folder))
        assert await figures.ask(QUESTION) is None


async def test_without_a_gateway_nothing_is_asked(folder: Path) -> None:
    figures = GatewayFigures("", folder)
    assert await figures.ask(QUESTION) is None
    await figures.close()
