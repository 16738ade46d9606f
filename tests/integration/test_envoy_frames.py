"""HTTP/2 frames that no client sends: floods that cost the sender little and a server much. Envoy ends the connection, and serves others.

Frames are written by hand, since libraries refuse to write such. Known by: CVE-2023-44487 (rapid reset), CVE-2024-30255 (CONTINUATION),
CVE-2019-9511 to 9518 (the others).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from roadstead.gateway.rpc.frames import PREFACE, Frame, frame
from tests.support.lone_envoy import HOST, PREFIX, TOKEN, Echo, LoneEnvoy, lone_envoy, read_head
from tests.support.memory import resident_mib

PRIORITY, RESET = 2, 3
END_STREAM, END_HEADERS = 1, 4
MIB = 1_048_576
GROWTH_MIB = 60
"""What an attack may cost in memory, buffers of 4 MiB a connection among it."""
MEMORY_MIB = 160
WAIT_SECONDS = 20
PIECES = 3000
"""Of one flood, each of which is many frames."""


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of any kind."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def text(value: str) -> bytes:
    """A string in HPACK, not compressed; no longer than 126 bytes."""
    assert len(value) < 127
    return bytes((len(value),)) + value.encode()


def request(path: str = "/x", method: int = 2) -> bytes:
    """A block of header fields; ``method`` is its place in HPACK's static table (2: GET, 3: POST)."""
    fields = bytes((0x80 | method, 0x86)) + b"\x04" + text(PREFIX + path) + b"\x01" + text("a")
    return fields + b"\x0f\x08" + text(TOKEN)


class Attacker:
    """A connection that has said hello. It reads what comes, unless told otherwise."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heard = 0
        self._reading: asyncio.Task[None] | None = None

    def read(self) -> None:
        async def reading() -> None:
            with suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    self.heard += len(data)

        self._reading = asyncio.create_task(reading())

    async def send(self, data: bytes) -> bool:
        """False when the other side has closed."""
        try:
            self.writer.write(data)
            async with asyncio.timeout(WAIT_SECONDS):
                await self.writer.drain()
        except (ConnectionError, TimeoutError):
            return False
        return not self.writer.transport.is_closing() and not (self._reading is not None and self._reading.done())

    async def over(self) -> bool:
        """Whether the other side closes, once all that it has said is read."""
        if self._reading is None:
            self.read()
        assert self._reading is not None
        await asyncio.wait([self._reading], timeout=WAIT_SECONDS)
        return self._reading.done()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self.writer.transport.abort()


@asynccontextmanager
async def attacking(envoy: LoneEnvoy, settings: bytes = b"") -> AsyncIterator[Attacker]:
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    writer.write(PREFACE + frame(Frame.SETTINGS, 0, 0, settings))
    attacker = Attacker(reader, writer)
    try:
        yield attacker
    finally:
        await attacker.close()


@asynccontextmanager
async def bystander(envoy: LoneEnvoy, growth_mib: int = GROWTH_MIB, refused: float = 0.0) -> AsyncIterator[None]:
    """Another client, which is served all the while (but for a share that may be refused), and memory that stays within bounds."""
    before, most, answers = resident_mib(envoy.process.pid), 0.0, []
    stop = asyncio.Event()

    async def asking() -> None:
        nonlocal most
        while not stop.is_set():
            answers.append((await envoy.get("/bystander")).status)
            most = max(most, resident_mib(envoy.process.pid))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(asking())
    yield
    stop.set()
    await task
    print(f"{len(answers)} answers, {most - before:.1f} MiB more")
    assert {200} <= {*answers} <= {200, 503}, answers
    assert answers.count(503) <= refused * len(answers), answers
    assert most - before < growth_mib
    assert envoy.process.returncode is None, envoy.log()


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one:
        await one.pods(await one.listen(Echo()))
        yield one


def streams(number: int, count: int = 10) -> range:
    """Ids of the streams of one piece of a flood."""
    return range(1 + 2 * count * number, 1 + 2 * count * (number + 1), 2)


def rapid_reset(number: int) -> bytes:
    return b"".join(raw(1, END_HEADERS | END_STREAM, one, request()) + raw(RESET, 0, one, b"\0\0\0\x08") for one in streams(number))


def endless_head(number: int) -> bytes:
    if number == 0:
        return raw(1, END_STREAM, 1, request())
    return raw(9, 0, 1, b"".join(b"\x00" + text(f"x-{number}-{field}") + text("v" * 100) for field in range(100)))


def endless_head_of_nothing(number: int) -> bytes:
    return raw(1, END_STREAM, 1, request()) if number == 0 else raw(9, 0, 1) * 100


def references(number: int) -> bytes:
    """Each byte stands for a header of 4,000 bytes that was said once."""
    head = request() + b"\x40" + text("x-large") + b"\x7f" + bytes((0xA1, 0x1E)) + b"v" * 4000 if number == 0 else request()
    return raw(1, END_HEADERS | END_STREAM, 1 + 2 * number, head + b"\xbe" * 8000)


def settings_flood(_: int) -> bytes:
    return frame(Frame.SETTINGS, 0, 0, b"\0\3\0\0\0\x64") * 100


def pings(_: int) -> bytes:
    return frame(Frame.PING, 0, 0, bytes(8)) * 100


def empty_data(number: int) -> bytes:
    return (raw(1, END_HEADERS, 1, request(method=3)) if number == 0 else b"") + raw(0, 0, 1) * 100


def priorities(number: int) -> bytes:
    return (raw(1, END_HEADERS, 1, request(method=3)) if number == 0 else b"") + raw(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 100


def window_updates(number: int) -> bytes:
    return (raw(1, END_HEADERS, 1, request(method=3)) if number == 0 else b"") + raw(8, 0, 1, b"\0\0\0\1") * 100


FLOODS = (
    rapid_reset,
    endless_head,
    endless_head_of_nothing,
    references,
    settings_flood,
    pings,
    empty_data,
    priorities,
    window_updates,
)


async def test_the_same_frames_in_moderation_are_answered(envoy: LoneEnvoy) -> None:
    head = request(method=3)
    async with attacking(envoy) as client:
        await client.send(
            settings_flood(0)[:60] + pings(0)[:170] + raw(1, END_HEADERS | END_STREAM, 1, request()) + raw(RESET, 0, 1, b"\0\0\0\x08")
        )
        await client.send(raw(1, 0, 3, head[:5]) + raw(9, 0, 3, head[5:9]) + raw(9, END_HEADERS, 3, head[9:]))
        await client.send(raw(PRIORITY, 0, 3, b"\0\0\0\0\x10") + raw(8, 0, 3, b"\0\0\0\1") + raw(0, 0, 3, b"ab") + raw(0, END_STREAM, 3))
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                head = await client.reader.readexactly(9)
                payload = await client.reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == Frame.HEADERS and int.from_bytes(head[5:], "big") == 3:
                    break
        assert payload[0] == 0x88, "status 200"


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "deaf"])
@pytest.mark.parametrize("piece", FLOODS)
async def test_a_flood_ends_its_connection(envoy: LoneEnvoy, piece: Callable[[int], bytes], reads: bool) -> None:
    if reads and piece in (settings_flood, pings):
        pytest.skip("who reads the answers is a busy client")
    sent = 0
    async with bystander(envoy), attacking(envoy) as attacker:
        if reads:
            attacker.read()
        while sent < PIECES and await attacker.send(piece(sent)):
            sent += 1
        assert await attacker.over(), f"{sent} pieces, and still open"
        print(f"{piece.__name__}: over after {sent} pieces; {len(envoy.gate.asked)} questions")
    asked = sum("/bystander" not in head.path for head in envoy.gate.asked)
    assert asked <= 1500, "a flood isn't passed on to the authoriser"


@pytest.mark.long
async def test_one_who_reads_no_answers_is_cut_off_before_memory_is_short() -> None:
    """Windows of nothing, and 400 answers of 20 MB that wait for them, two of which Envoy keeps of each."""

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            size = 20 * MIB if head.path == "/large" else 0
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
            for _ in range(size // 65536):
                writer.write(bytes(65536))
                await writer.drain()

    async with lone_envoy(memory_bytes=MEMORY_MIB * MIB) as envoy:
        await envoy.pods(await envoy.listen(talkative))
        # On a busy machine Envoy looks at its memory later than every tenth of a second, and may have come to its last means meanwhile.
        async with bystander(envoy, MEMORY_MIB, refused=0.05), attacking(envoy, b"\0\4\0\0\0\0") as attacker:
            attacker.read()
            for number in range(400):
                assert await attacker.send(raw(1, END_HEADERS | END_STREAM, 1 + 2 * number, request("/large")))
                await asyncio.sleep(0.02)
            await asyncio.sleep(1)
            shed = await envoy.admin("/stats?filter=^http.gateway.downstream_rq_.x.reset")
            print(shed[-200:])


@pytest.mark.parametrize("odd", [" ", "\t", "\r\n", "\x7f"])
async def test_a_path_that_http_1_cannot_say_goes_nowhere(envoy: LoneEnvoy, odd: str) -> None:
    """Whether it would be asked about or is remembered: to a pod, and to the authoriser, it would be another request line."""
    envoy.gate.verdict_seconds = 60
    for path in (f"/x?a{odd}b", "/x", f"/x?a{odd}b"):
        async with attacking(envoy) as client:
            client.writer.write(frame(Frame.HEADERS, END_STREAM | END_HEADERS, 1, request(path)))
            answer = b""
            async with asyncio.timeout(WAIT_SECONDS):
                while b"echo" not in answer and (more := await client.reader.read(65536)):
                    answer += more
            assert (b"echo" in answer) == (path == "/x"), answer
    assert [head.path for head in envoy.gate.asked] == [f"{PREFIX}/x"]
