"""Why somebody isn't let in. Each face turns these into its own form of answer."""

from __future__ import annotations

from typing import Final

NO_TOKEN: Final = "a token is needed: send the header Authorization: Bearer <token>"  # noqa: S105
BAD_TOKEN: Final = "the token isn't valid: it has expired, it was revoked, or it is for another audience; get a new one"  # noqa: S105
CLUSTER_AWAY: Final = "the cluster's API server can't be reached at the moment; try again"
WRITES_NEED: Final = "writes need a token for the API server's audience; this one may only read and invoke"


class Refused(Exception):
    """``sentence`` is for the caller to read."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Unauthenticated(Refused):
    """No token, or one that isn't valid (HTTP 401)."""


class MayOnlyRead(Refused):
    """The token isn't one to write with (HTTP 403)."""

    def __init__(self) -> None:
        super().__init__(WRITES_NEED)


class Throttled(Refused):
    """Too many tries (HTTP 429); the next one may come after ``wait_seconds``."""

    def __init__(self, sentence: str, wait_seconds: float) -> None:
        super().__init__(sentence)
        self.wait_seconds = wait_seconds
