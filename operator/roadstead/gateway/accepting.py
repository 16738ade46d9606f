"""What servers of our own protocols have in common: they take connections for as long as a context lasts, and see each off at its end.

asyncio's server, when it is closed, takes no more connections and leaves those that it has to themselves, so they are remembered here:
weakly, since whoever has left has no reason to tell.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakSet


class Accepted(asyncio.Protocol):
    """One connection of a server's."""

    def dismiss(self) -> None:
        """The server ends: close, so that the client knows. It may be that the handshake goes on (``connection_made`` is still to be
        called), or that all is over.
        """
        raise NotImplementedError


@asynccontextmanager
async def accepting(
    make: Callable[[], Accepted], host: str | None, port: int, tls: ssl.SSLContext | None, backlog: int
) -> AsyncIterator[int]:
    """Take connections on that address (None: all) while the context lasts; port 0 finds a free one. Yields the port.

    ``backlog``: how many may wait to be taken. At the end each connection is dismissed, and not waited for.
    """
    connections: WeakSet[Accepted] = WeakSet()

    def connected() -> Accepted:
        connection = make()
        connections.add(connection)
        return connection

    server = await asyncio.get_running_loop().create_server(connected, host, port, ssl=tls, backlog=backlog)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(connections):
            connection.dismiss()
