"""HTTP/1.1 as bytes, which no client library would send: requests to a gateway by somebody who may make them, and what is said to them."""

from __future__ import annotations

import json
import socket

from tests.support.gateways import Replica
from tests.support.place import Place


def connected(gateway: Replica, seconds: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.ports["port"]), timeout=seconds)


def sent(gateway: Replica, data: bytes, seconds: float = 10) -> bytes:
    """Everything that is said to these bytes until the connection closes; b"..." at the end if it never does."""
    said = b""
    with connected(gateway, seconds) as connection:
        connection.sendall(data)
        try:
            while piece := connection.recv(65536):
                said += piece
        except TimeoutError:
            return said + b"..."
        except ConnectionError:
            pass
    return said


def status(said: bytes) -> int:
    """Of the first answer; 0 without one."""
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


def detail(said: bytes) -> str:
    """What the body of an answer says, which must be JSON."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower(), said
    return str(json.loads(body)["detail"])


def request(place: Place, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a request by somebody who may make it, whatever its path; the connection is to close after it."""
    lines = ("Host: here", f"Authorization: Bearer {place.token}", "Connection: close", *lines)
    return f"{method} {path} HTTP/1.1\r\n".encode() + b"".join(f"{line}\r\n".encode("latin-1") for line in lines) + b"\r\n" + body


def warmed(place: Place, path: str) -> None:
    """Have every worker of Envoy's remember the caller."""
    for _ in range(8):
        assert status(sent(place.gateway, request(place, path))) == 200
