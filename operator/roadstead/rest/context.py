"""What a request needs of the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from roadstead.access.callers import Caller, Callers
from roadstead.access.rights import Rights
from roadstead.rest.cache import Cache
from roadstead.rest.keda import Keda
from roadstead.rest.operators import Operators
from roadstead.rest.pages import Proxies
from roadstead.rest.reads import Reads
from roadstead.rest.statistics import Statistics
from roadstead.rest.store import Store
from roadstead.settings import ApiSettings


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of one process; handlers find them by ``Depends``."""

    settings: ApiSettings
    cache: Cache
    callers: Callers
    rights: Rights
    reads: Reads
    store: Store
    operators: Operators
    keda: Keda
    statistics: Statistics
    proxies: Proxies

    def base(self, request: Request) -> str:
        """Everything before a path, as the client sees us."""
        return self.proxies.base(request)


def api_of(request: Request) -> Api:
    """The parts of this process."""
    found: Api = request.app.state.api
    return found


def caller_of(request: Request) -> Caller:
    """Who asks: the edge found that out before anything else."""
    found: Caller = request.scope["roadstead.caller"]
    return found


def writer_of(request: Request) -> Caller:
    """Who asks, if the token is one to write with. Raises MayOnlyRead."""
    return caller_of(request).writer()


TheApi: TypeAlias = Annotated[Api, Depends(api_of)]
TheCaller: TypeAlias = Annotated[Caller, Depends(caller_of)]
TheWriter: TypeAlias = Annotated[Caller, Depends(writer_of)]
