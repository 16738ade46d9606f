"""``streamer.py`` for gRPC: a server for real pods whose calls last, in an image that has grpcio, as ours does.

``/test.Lines/Say`` says a line a second, of the same form and to the same end; ``/test.Lines/Finish`` is the word to finish. After SIGTERM
no call is taken any more, and the process ends with the last of those under way. That it is ready is asked over HTTP on another port.
"""

from __future__ import annotations

import itertools
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

PORT, READY_PORT = 8080, 8081
PAUSE_SECONDS = 1.0
MORE = 8
"""Lines after the word to finish."""
LONGEST_SECONDS = 120.0
HOST = socket.gethostname()
terminating, finishing = threading.Event(), threading.Event()


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if terminating.is_set() else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def say(_request: bytes, _context: Any) -> Iterator[bytes]:
    """Lines, one a second to the last."""
    left = MORE
    for number in itertools.count():
        left -= finishing.is_set()
        yield json.dumps({"number": number, "pod": HOST, "terminating": terminating.is_set(), "last": left == 0}).encode()
        if left == 0:
            return
        time.sleep(PAUSE_SECONDS)


def finish(_request: bytes, _context: Any) -> bytes:
    finishing.set()
    return b"{}"


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(32))
    handlers = {"Say": grpc.unary_stream_rpc_method_handler(say), "Finish": grpc.unary_unary_rpc_method_handler(finish)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Lines", handlers),))
    server.add_insecure_port(f"0.0.0.0:{PORT}")
    signal.signal(signal.SIGTERM, lambda *_: (terminating.set(), finishing.set()))
    server.start()
    probed = ThreadingHTTPServer(("0.0.0.0", READY_PORT), Ready)  # noqa: S104
    threading.Thread(target=probed.serve_forever, daemon=True).start()
    terminating.wait()
    server.stop(LONGEST_SECONDS).wait()


if __name__ == "__main__":
    main()
