"""Where a new object goes."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from roadstead.access.callers import Caller
from roadstead.rest.problems import invalid

HEADER: Final = "X-Roadstead-Namespace"
LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def chosen(request: Request, caller: Caller, default: str) -> str:
    """The header's, else the service account's own, else the default. Raises 422 where the header holds no namespace's name."""
    return named(request) or caller.namespace or default


def same(request: Request, namespace: str, what: str) -> str:
    """The namespace of an object that the request refers to. Raises 422 where the header says otherwise."""
    header = named(request)
    if header is not None and header != namespace:
        raise invalid(("header", HEADER), f"the {what} is in namespace {namespace}; leave the header out, or name that one")
    return namespace


def named(request: Request) -> str | None:
    """The header, if it is there."""
    header = request.headers.get(HEADER)
    if header is not None and not LABEL.fullmatch(header):
        raise invalid(("header", HEADER), "must be the name of a namespace", "string_pattern_mismatch")
    return header
