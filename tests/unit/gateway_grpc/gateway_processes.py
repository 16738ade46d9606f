"""Gateway processes reduced to what counts: a ledger each, and the peers that it tells and asks, on real servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from roadstead.gateway.control import OPTIONS
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.peers import Peers
from roadstead.tls import SNI, Certificates

W = "w-" + "0" * 24


async def until(condition: Callable[[], object], what: str, seconds: float = 15) -> None:
    """Wait for it to become true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is about other tasks
            await asyncio.sleep(0.01)
    assert condition(), what


@asynccontextmanager
async def serving(*handlers: Any, address: str = "127.0.0.1:0", credentials: Any = None) -> AsyncIterator[str]:
    """A server for the length of the ``with`` block; it ends as a killed one does."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@dataclass(eq=False)
class Process:
    """One gateway process."""

    ledger: Ledger
    peers: Peers
    address: str
    ended: AsyncExitStack

    async def kill(self) -> None:
        await self.ended.aclose()


@dataclass
class Fleet:
    """Processes by name; ``since`` shifts the start of what a new one knows."""

    now: Callable[[], float]
    processes: dict[str, Process] = field(default_factory=dict)

    async def start(self, name: str, *, address: str = "127.0.0.1:0", certificates: Certificates | None = None) -> Process:
        ledger = Ledger(name, clock=self.now)
        peers = Peers(ledger, None if certificates is None else certificates.grpc_client, SNI)
        stack = AsyncExitStack()
        credentials = None if certificates is None else certificates.grpc_server()
        found = await stack.enter_async_context(serving(peers.handler(), address=address, credentials=credentials))
        stack.push_async_callback(peers.close)
        self.processes[name] = made = Process(ledger, peers, found, stack)
        return made

    def introduce(self, *names: str) -> None:
        """These are the processes there are: all hear of all, themselves included, as from a headless Service."""
        addresses = [self.processes[name].address for name in names]
        for name in names:
            self.processes[name].peers.set_peers(addresses)

    async def close(self) -> None:
        for process in self.processes.values():
            await process.kill()
