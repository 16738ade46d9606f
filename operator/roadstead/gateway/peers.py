"""What gateway processes tell each other: counts, gauges and demand, each to each.

A process that comes asks all others for everything they know, and is told every change from then on. So any of them can answer for all,
and the hour outlives a rollout of all of them one by one. Whoever is silent counts with its last word; the stream carries a sign of life
at least every BEAT_SECONDS, so that silence is noticed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
from pydantic import ValidationError

from roadstead.counts import SERVICE, Question
from roadstead.gateway.ledger.figures import figures
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.kube.backoff import backoff

log = logging.getLogger(__name__)
ROUND_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 7.0
"""A peer that has given no sign of life for so long is asked anew, on another connection."""
STEADY_SECONDS: Final = 10.0
RETRY_BASE_SECONDS: Final = 0.25
RETRY_CAP_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class _Peer:
    address: str
    task: asyncio.Task[None] | None = None
    told_all: bool = False
    heard: bool = False
    """It is being listened to, and has told everything over the present connection."""
    own: bool = False
    """It is this very process."""


class Peers:
    """The serving side is ``handler``, the asking side follows the addresses given to ``set_peers``. Close it at the end.

    ``credentials`` (tls.py) are asked for at each connection, since certificates are renewed, and ``server_name`` is looked for in
    the peer's, whose address may be any; None: without TLS.
    """

    def __init__(self, ledger: Ledger, credentials: Callable[[], grpc.ChannelCredentials] | None = None, server_name: str = "") -> None:
        self._ledger = ledger
        self._credentials = credentials
        self._server_name = server_name
        self._peers: dict[str, _Peer] = {}
        self._named = False

    @property
    def complete(self) -> bool:
        """Whether it is known who the peers are, and each has told everything it knows once since we began."""
        return self._named and all(peer.told_all for peer in self._peers.values())

    @property
    def hears_all(self) -> bool:
        """Whether each of them is being listened to now."""
        return self._named and all(peer.heard for peer in self._peers.values())

    def set_peers(self, addresses: Iterable[str]) -> None:
        """These (host:port) are all the peers there are; our own may be among them."""
        wanted = set(addresses)
        self._named = True
        for address in self._peers.keys() - wanted:
            if (task := self._peers.pop(address).task) is not None:
                task.cancel()
        for address in sorted(wanted - self._peers.keys()):
            peer = self._peers[address] = _Peer(address)
            peer.task = asyncio.create_task(self._follow(peer))

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
        self._peers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def handler(self) -> grpc.GenericRpcHandler:
        """To be given to a grpc.aio server. Messages are JSON: ``ledger/state.py``, ``counts.py``."""
        calls = {
            "Follow": grpc.unary_stream_rpc_method_handler(self._told),
            "Figures": grpc.unary_unary_rpc_method_handler(self._figures),
        }
        return grpc.method_handlers_generic_handler(SERVICE, calls)

    async def _told(self, _: bytes, context: grpc.aio.ServicerContext) -> None:
        # A coroutine that writes rather than a generator: the end of the call cancels it wherever it is, and it collects no longer.
        with self._ledger.follow() as changes:
            for part in self._ledger.parts():
                await context.write(part)
            said = time.monotonic()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ROUND_SECONDS):
                        await changes.urgent.wait()
                changes.urgent.clear()
                message = changes.take()
                if message is None and time.monotonic() - said >= BEAT_SECONDS:
                    message = b"{}"
                if message is not None:
                    await context.write(message)
                    said = time.monotonic()

    async def _figures(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if not self.complete:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "counts are being gathered")
        try:
            question = Question.model_validate_json(request)
        except ValidationError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error.error_count()} errors: {error.errors()[0]['msg']}")
        return figures(self._ledger, question).model_dump_json().encode()

    async def _follow(self, peer: _Peer) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                async with self._channel(peer.address) as channel:
                    if await self._listen(channel, peer):
                        peer.told_all = peer.own = True
                        return  # it is ourselves
                problem = "it has ended the stream"
            except TimeoutError:
                problem = f"nothing was heard for {SILENT_SECONDS:g} s"
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name}: {error.details()}"
            except (ValueError, OSError) as error:  # no state of a ledger, no certificates
                problem = str(error)
            except Exception as error:
                log.exception("Could not follow gateway process at %s", peer.address)
                problem = repr(error)
            finally:
                peer.heard = peer.own
            failures = 1 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            # A peer that ends is taken off the list a moment after its end: no news.
            log.log(logging.WARNING if failures == 3 else logging.DEBUG, "Can't follow gateway process at %s: %s", peer.address, problem)
            await asyncio.sleep(backoff(failures, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS))

    async def _listen(self, channel: grpc.aio.Channel, peer: _Peer) -> bool:
        """Take over what a peer says until it ends; True if it is this very process."""
        call = channel.unary_stream(f"/{SERVICE}/Follow")(b"")
        try:
            while True:
                async with asyncio.timeout(SILENT_SECONDS):
                    message = await call.read()
                if message is grpc.aio.EOF:
                    return False
                state = self._ledger.merge(message)
                if state.process == self._ledger.process:
                    return True
                if state.whole:
                    peer.told_all = peer.heard = True
        finally:
            call.cancel()

    def _channel(self, address: str) -> Any:
        options: list[tuple[str, str | int]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the back-off of the one before
        ]
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options)
        options.append(("grpc.ssl_target_name_override", self._server_name))
        return grpc.aio.secure_channel(address, self._credentials(), options)
