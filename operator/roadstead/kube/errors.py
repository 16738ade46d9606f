"""What the API can answer instead of doing it: one class for each answer that callers treat differently.

``transient`` says whether the same intention may succeed later though nobody changed anything: the work queue retries those quietly.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import ClassVar

import orjson

from roadstead.kube.resource import Body


class Fenced(Exception):
    """A write was held back: this process is not, or no longer surely, the leader."""


class ApiError(Exception):
    """The API refused, or did not answer.

    ``status`` is the HTTP status (0: there was no answer), ``reason`` Kubernetes' word for it, ``retry_after`` the seconds the
    server asked for, ``causes`` one line for each field a validation found wrong.
    """

    transient: ClassVar[bool] = False

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None, causes: tuple[str, ...] = ()) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.causes = causes


class Unauthorized(ApiError):
    """401: the token or certificate isn't accepted."""


class Forbidden(ApiError):
    """403: RBAC, a quota, a policy, or a namespace that is being deleted."""


class NotFound(ApiError):
    """404: no such object, or no such kind."""


class Conflict(ApiError):
    """409: changed since it was read, exists already, or another manager owns a field."""

    transient = True


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old; list again."""

    transient = True


class Invalid(ApiError):
    """422: the object breaks its schema or a rule; see ``causes``."""


class TooManyRequests(ApiError):
    """429: slow down; the request was not carried out."""

    transient = True


class ServerError(ApiError):
    """5xx: whether the request was carried out is unknown."""

    transient = True


class Unreachable(ApiError):
    """No usable answer: connection refused or lost, a time-out, a stream that broke off or went silent.

    ``sent`` is False where the request surely never reached the server.
    """

    transient = True

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(0, "Unreachable", message)
        self.sent = sent


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def error_of(status: Body, *, code: int = 0, retry_after: float | None = None) -> ApiError:
    """The error for a ``Status`` object, as found in a refused call's body or in a watch's ERROR event."""
    code = int(status.get("code") or code or 500)
    kind = _BY_STATUS.get(code, ServerError if code >= 500 else ApiError)
    details = status.get("details") or {}
    causes = tuple(f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in details.get("causes") or ())
    if retry_after is None and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    reason = str(status.get("reason") or "Unknown")
    return kind(code, reason, str(status.get("message") or reason), retry_after=retry_after, causes=causes)


def error_of_response(code: int, headers: Mapping[str, str], payload: bytes) -> ApiError:
    """The error for a refused call; the body need not be JSON, since proxies and load balancers answer too."""
    try:
        status = orjson.loads(payload)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"message": payload[:300].decode(errors="replace")}
    status["code"] = code
    return error_of(status, retry_after=_retry_after(headers.get("Retry-After")))


def _retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header in either of its two forms (RFC 9110 10.2.3)."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
