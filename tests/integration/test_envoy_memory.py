"""An Envoy that is short of memory refuses, and says so, before the kernel ends it and everything that it carries."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.support.lone_envoy import Echo, lone_envoy, read_head, reply

MIB = 1_048_576
MEMORY_MIB = 160
WAVES, WAVE = 80, 10
"""So many uploads come each quarter of a second; each keeps half a mebibyte or more in buffers while its pod doesn't read. How much of it
is in Envoy, and how much in the kernel, differs.
"""


def anonymous_mib(pid: int) -> float:
    """Memory of a process without what is only mapped from files, which the kernel can take back."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


async def test_a_refusal_is_clear() -> None:
    async with lone_envoy(memory_bytes=4 * MIB) as envoy:  # less than it needs for itself
        await envoy.pods(await envoy.listen(Echo()))
        for answer in (await envoy.get("/x"), await envoy.get("/x", method="POST", body=b"x" * 100_000)):
            assert (answer.status, answer.json) == (503, {"detail": "the gateway is short of memory; try again"})
            assert answer.header("retry-after") == "1"
        assert not envoy.gate.asked
        assert "overload.envoy.overload_actions.stop_accepting_requests.active: 1" in await envoy.admin("/stats?filter=^overload")


@pytest.mark.long
async def test_large_requests_that_nobody_reads_shut_nobody_out() -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            if head.line.startswith("POST"):
                # Else the kernel would keep all of it, as long as its buffers may grow to that.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.sleep(60)
            writer.write(reply(200))

    async with lone_envoy(memory_bytes=MEMORY_MIB * MIB) as envoy:
        await envoy.pods(await envoy.listen(service))
        body, uploads, said, most = bytes(4 * MIB), [], Counter[int](), 0.0
        for _ in range(WAVES):
            uploads += [asyncio.create_task(envoy.get("/x", method="POST", body=body)) for _ in range(WAVE)]
            await asyncio.sleep(0.25)
            said[(await envoy.get("/x")).status] += 1
            most = max(most, anonymous_mib(envoy.process.pid))
        ended = [task for task in uploads if task.done()]
        print(said, most, len(ended))
        assert ended, "what keeps most is ended"
        assert most < MEMORY_MIB
        assert said[200] >= 0.8 * WAVES, said
        assert envoy.process.returncode is None
        for task in uploads:
            task.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)
