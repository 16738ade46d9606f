"""Lines of a watch stream, however long they are.

aiohttp's own ``readline`` refuses lines beyond its buffer, and an object may be 1.5 MB; appending to one buffer and searching it again
for each chunk would be quadratic. Here a chunk is looked at once, and joined once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import aiohttp


async def split_lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Complete lines without their newline. Raises ValueError if the stream ends in the middle of one."""
    pending: list[bytes] = []
    async for chunk in stream.iter_any():
        *complete, rest = chunk.split(b"\n")
        if complete:
            pending.append(complete[0])
            complete[0] = b"".join(pending)
            pending.clear()
            for line in complete:
                if line:
                    yield line
        if rest:
            pending.append(rest)
    if pending:
        raise ValueError(f"truncated after {sum(map(len, pending))} bytes of a line")
