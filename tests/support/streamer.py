"""A server for real pods whose answers last: a line a second, until a while after the pod was told to end.

``/events`` says them as server-sent events, ``/socket`` as messages of a WebSocket: each has a number, who says it, whether SIGTERM has
come, and whether it is the last. That is the one MORE lines after SIGTERM, or after a request for ``/finish``, so that what is under way
at SIGTERM outlasts it however slow the machine is. ``/upload`` takes a body at the pace at which it comes. The process ends with the last
of them, as a server should. A container gets its text by an environment variable, so only the standard library is used.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
PAUSE_SECONDS = 1.0
MORE = 8
"""Lines after the word to finish."""
HOST = socket.gethostname()
WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""
TEXT, CLOSE = 0x81, b"\x88\x02\x03\xe8"
LONGEST = 125
"""Bytes of a message whose length is one byte."""
terminating, finishing = threading.Event(), threading.Event()


class Streamer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        match self.path:
            case "/readyz":
                self.answer(503 if terminating.is_set() else 200, b"{}")
            case "/finish":
                finishing.set()
                self.answer(200, b"{}")
            case "/events":
                self.events()
            case "/socket":
                self.talk()
            case _:
                self.answer(404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, line(0, last=True, size=len(body), sha256=hashlib.sha256(body).hexdigest()))

    def events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for said in lines():
            self.wfile.write(b"%x\r\ndata: %b\n\n\r\n" % (len(said) + len("data: \n\n"), said))
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = terminating.is_set()

    def talk(self) -> None:
        accept = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + WEBSOCKET).encode()).digest()  # noqa: S324 - RFC 6455
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        self.end_headers()
        for said in lines():
            assert len(said) <= LONGEST
            self.wfile.write(bytes((TEXT, len(said))) + said)
        self.wfile.write(CLOSE)
        self.rfile.read(1)  # the client's own word of the end: closing before it has come would reset the connection
        self.close_connection = True

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if terminating.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        if self.path != "/readyz":
            print(format % args, flush=True)


def lines() -> Iterator[bytes]:
    """One a second to the last."""
    left = MORE
    for number in itertools.count():
        left -= finishing.is_set()
        yield line(number, last=left == 0)
        if left == 0:
            return
        time.sleep(PAUSE_SECONDS)


def line(number: int, *, last: bool, **more: object) -> bytes:
    return json.dumps({"number": number, "pod": HOST, "terminating": terminating.is_set(), "last": last, **more}).encode()


def main() -> None:
    server = ThreadingHTTPServer(("0.0.0.0", PORT), Streamer)  # noqa: S104
    server.daemon_threads = False  # what is under way is finished before the process ends

    def stop(*_: object) -> None:
        terminating.set()
        finishing.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
