"""What the gateway has counted: asked of any of its processes, each of which answers for all.

One channel to all of them in turn, opened by the first question; gRPC finds them by the headless Service's name, and closes what is idle.
No answer is no error here: the caller then knows nothing of requests, and says so.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from pydantic import ValidationError

from roadstead.counts import CALL, Figures, Question
from roadstead.tls import Certificates

log = logging.getLogger(__name__)
ANSWER_SECONDS: Final = 2.0
"""For one process to answer."""
TOTAL_SECONDS: Final = 5.0
"""For any of them to."""
ATTEMPTS: Final = 3
"""One that is new is still gathering, and one may be going; questions side by side don't take exact turns."""
PAUSE_SECONDS: Final = 0.2
"""Between attempts: the connection to another may just be being made."""
TRY_ANOTHER: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
BALANCED: Final = '{"loadBalancingConfig": [{"round_robin": {}}]}'
OPTIONS: Final = (
    ("grpc.service_config", BALANCED),
    ("grpc.service_config_disable_resolution", 1),  # none is kept in the DNS
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the connections of the one before
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 30_000),  # none is sent at rest; but so a connection ends on which nothing is acknowledged for so long:
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
)


class GatewayFigures:
    """``target`` is the processes' host:port (or a gRPC name such as ``ipv4:a:1,b:1``); empty: there is no gateway to ask. The folder holds
    the certificates that let us; they may come later, or anew. Close it at the end.
    """

    def __init__(self, target: str, certificates: Path | None) -> None:
        self._target = target
        self._certificates = Certificates(certificates) if certificates is not None else None
        self._channel: grpc.aio.Channel | None = None
        self._seen: tuple[bytes, ...] = ()
        self._closing: set[asyncio.Task[None]] = set()
        self._problem: str | None = None

    async def ask(self, question: Question) -> Figures | None:
        """Returns None if nobody answers within TOTAL_SECONDS: no gateway, none within reach, or counts are still being gathered."""
        if not self._target or self._certificates is None:
            return None
        try:
            found = Figures.model_validate_json(await self._call(self._certificates, question.model_dump_json().encode()))
        except grpc.aio.AioRpcError as error:
            problem: str | None = f"{error.code().name}: {error.details()}"
        except (OSError, ValidationError) as error:  # no certificates, or a version with another idea of figures
            problem = str(error)
        else:
            problem = None
        if problem != self._problem:  # once, not at each question
            log.log(logging.INFO if problem is None else logging.WARNING, "Figures of the gateway: %s", problem or "it answers again")
            self._problem = problem
        return found if problem is None else None

    async def close(self) -> None:
        """Ask nobody any more."""
        self._drop()
        await asyncio.gather(*self._closing)

    async def _call(self, certificates: Certificates, question: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        end = loop.time() + TOTAL_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer: bytes = await self._open(certificates).unary_unary(CALL)(question, timeout=min(ANSWER_SECONDS, end - loop.time()))
                return answer
            except grpc.aio.AioRpcError as error:
                if error.code() not in TRY_ANOTHER or attempt == ATTEMPTS or loop.time() >= end:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _open(self, certificates: Certificates) -> Any:
        seen = certificates.read()
        if self._channel is None or seen != self._seen:
            self._drop()
            self._seen = seen
            options = (*OPTIONS, ("grpc.ssl_target_name_override", certificates.server_name))
            self._channel = grpc.aio.secure_channel(self._target, certificates.grpc_client(), options)
        return self._channel

    def _drop(self) -> None:
        if (channel := self._channel) is not None:
            self._channel = None
            closing = asyncio.create_task(channel.close(ANSWER_SECONDS))  # what others have asked by it may be answered still
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
