"""Envoy's question for permission (by its script, envoy/permission.lua): may this request pass, and to which cluster.

200 lets it pass, with headers for Envoy and for the container; anything else goes to the caller as it is. SAID tells a 5xx that is the
caller's answer from one of a failure on the way.
A request that must wait for a pod gets no answer until there is one: Envoy holds it, and hangs up on us when its client leaves.

Envoy must send CLIENT and NODE, in its own words, beside Authorization and path, and CALLS of gRPC.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import ClassVar, Final, Protocol
from urllib.parse import quote

from roadstead.access.callers import Caller
from roadstead.gateway.directory import Target
from roadstead.gateway.http import Connection, Request, message, retry_after, told
from roadstead.gateway.paths import endpoint
from roadstead.gateway.permission import DEFECT, Permission, Permitted
from roadstead.gateway.waking import Answer, Go, Held

log = logging.getLogger(__name__)
CLIENT: Final = b"x-roadstead-client"
"""The address that the request comes from, as Envoy knows it: guesses at tokens count by it."""
NODE: Final = b"x-roadstead-node"
"""The name of the Envoy that asks."""
AUTHORIZATION: Final = b"authorization"
CALLS: Final = b"x-roadstead-grpc"
"""There if a client of gRPC calls: the sentence is then all that it is told, and Envoy makes the status one of gRPC's."""
SAID: Final = b"x-roadstead-said: true"
NEW_SECONDS: Final = 5.0
"""What has been open for longer is known to an Envoy whose process has died since: it is without any configuration for less than that."""

UNSEEN_SECONDS: Final = 0.25
"""After so long at the earliest somebody is told that there is nothing of an id. To find out that he may not see what there is takes up to
five reviews of the API server, some 15 ms each, and ids can be computed from names: he could tell by the time which of them exist."""
PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
"""What stays as it is in a user's name. All else is %-encoded, "%" too, so that no two names look alike to a container."""


class Decides(Protocol):
    """What becomes of a request of somebody who may make it."""

    def decide(self, target: Target) -> Go | Held | Answer: ...


class Envoys(Protocol):
    """What Envoys know."""

    def knows(self, node: str, cluster_name: str) -> bool: ...

    async def learnt(self, node: str, cluster_name: str) -> None: ...


class Authoriser:
    """Called without arguments it makes the protocol of one connection of Envoy's."""

    def __init__(self, permission: Permission, waking: Decides) -> None:
        self.permission = permission
        self.waking = waking
        self.answers: Counter[int] = Counter()
        """By what the caller gets to see: 200 for what passes, else the status, whoever says it."""

    def __call__(self) -> Connection:
        return _Questions(self)

    def for_guests(self, envoys: Envoys) -> Callable[[], Connection]:
        """As a call, for connections of Envoys of other replicas, whose own process is away."""
        return lambda: _GuestsQuestions(self, envoys)


class _Questions(Connection):
    """One connection: one question at a time."""

    WANTED: ClassVar[frozenset[bytes]] = frozenset({AUTHORIZATION, CLIENT, CALLS})

    def __init__(self, authoriser: Authoriser) -> None:
        super().__init__()
        self._authoriser = authoriser
        self._task: asyncio.Task[None] | None = None
        self._grpc = False
        self._held: Held | None = None
        self._asked_at = 0.0
        self._due: asyncio.TimerHandle | None = None
        """When the answer, which is known, is told."""

    def answer(self, request: Request) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        self._grpc = CALLS in request.headers
        found = endpoint(request.url)
        if found is None:
            self._tell(Answer(404, "there is nothing to call here"))
            return
        authorization = request.headers.get(AUTHORIZATION, b"").decode("latin-1")
        verdict = self._authoriser.permission.known(authorization, *found)
        if verdict is None:
            address = request.headers.get(CLIENT, b"").decode("latin-1")
            self._task = asyncio.create_task(self._ask(authorization, address, *found))
        else:
            self._judge(verdict)

    def left(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._due is not None:
            self._due.cancel()
        if self._held is not None:
            held, self._held = self._held, None
            held.cancel()

    async def _ask(self, authorization: str, address: str, kind: str, id: str) -> None:
        verdict = await self._authoriser.permission.asked(authorization, address, kind, id)
        self._task = None
        self._judge(verdict)

    def _judge(self, verdict: Permitted | Answer) -> None:
        if isinstance(verdict, Answer):
            if verdict.status == 404:
                self._due = asyncio.get_running_loop().call_at(self._asked_at + UNSEEN_SECONDS, self._tell, verdict)
            else:
                self._tell(verdict)
        else:
            self._decide(verdict)

    def _decide(self, permitted: Permitted) -> None:
        try:
            outcome = self._authoriser.waking.decide(permitted.target)
        except Exception:
            log.exception("Could not decide about a request for %s", permitted.target.figures)
            outcome = Answer(500, DEFECT)
        if isinstance(outcome, Held):
            self._held = outcome
            outcome.future.add_done_callback(lambda future: self._released(permitted, future))
        else:
            self._settle(permitted, outcome)

    def _released(self, permitted: Permitted, future: asyncio.Future[Go | Answer]) -> None:
        if self._held is None:  # the caller has left
            return
        self._held = None
        outcome = future.result()
        if isinstance(outcome, Go) and not permitted.target.open:  # the pod has gone again since
            self._decide(permitted)
        else:
            self._settle(permitted, outcome)

    def _settle(self, permitted: Permitted, outcome: Go | Answer) -> None:
        if isinstance(outcome, Answer):
            self._tell(outcome)
        else:
            self._authoriser.answers[200] += 1
            self.reply(passed(permitted.caller, permitted.target, outcome))

    def _tell(self, answer: Answer) -> None:
        self._due = None
        self._authoriser.answers[answer.status] += 1
        self.reply(refused(answer, grpc=self._grpc))


class _GuestsQuestions(_Questions):
    """Of an Envoy that belongs to another replica. It could be let through to what it hasn't heard of yet: when its process dies it comes
    here with its questions at once, and for its configuration a second later.
    """

    WANTED: ClassVar[frozenset[bytes]] = _Questions.WANTED | {NODE}

    def __init__(self, authoriser: Authoriser, envoys: Envoys) -> None:
        super().__init__(authoriser)
        self._envoys = envoys
        self._node = ""

    def answer(self, request: Request) -> None:
        self._node = request.headers.get(NODE, b"").decode("latin-1")
        super().answer(request)

    def _settle(self, permitted: Permitted, outcome: Go | Answer) -> None:
        target = permitted.target
        new = isinstance(outcome, Go) and asyncio.get_running_loop().time() - target.opened_at < NEW_SECONDS
        if new and not self._envoys.knows(self._node, target.cluster):
            self._task = asyncio.create_task(self._tell_first(permitted, outcome))
        else:
            super()._settle(permitted, outcome)

    async def _tell_first(self, permitted: Permitted, outcome: Go | Answer) -> None:
        await self._envoys.learnt(self._node, permitted.target.cluster)
        self._task = None
        if permitted.target.open:
            super()._settle(permitted, outcome)
        else:
            self._decide(permitted)


def passed(caller: Caller, target: Target, go: Go) -> bytes:
    """Let it through."""
    head = (
        f"HTTP/1.1 200 OK\r\nx-roadstead-cluster: {target.cluster}\r\n"
        f"x-roadstead-user: {quote(caller.username, safe=PLAIN)}\r\n"
        "content-length: 0\r\n"
    )
    if go.verdict_seconds > 0 and (seconds := min(go.verdict_seconds, caller.expires_at - time.time())) > 0:
        head += f"x-roadstead-verdict-seconds: {seconds:.3f}\r\n"
    if go.cold_start is not None:
        head += f"x-roadstead-cold-start: {go.cold_start}\r\n"
    return f"{head}\r\n".encode()


def refused(answer: Answer, *, grpc: bool) -> bytes:
    """What the caller gets in place of the service's answer."""
    headers = [SAID]
    if answer.status == 401:
        headers.append(b"www-authenticate: Bearer")
    if answer.retry_after is not None:
        headers.append(retry_after(answer.retry_after))
    if grpc:
        return message(answer.status, answer.detail.encode(), *headers, content_type=b"text/plain")
    return message(answer.status, told(answer.detail), *headers)
