"""The official ``openai`` package streams from a service behind an endpoint. With a real pod: tests/e2e/test_gateway_streams.py."""

from __future__ import annotations

from tests.support.openai_client import converse
from tests.support.place import Place


def test_the_openai_client_streams(place: Place, name: str) -> None:
    converse(place.url(name, ""), place.token)
