"""A tiny HTTP service that says who answers: host name, path and request headers, as JSON.

``/healthz`` says the process lives; ``/readyz`` says it takes requests, which ends with the SIGTERM that Kubernetes sends before it
stops the pod. From then on each answer ends its connection, so that a client that keeps one goes elsewhere with its next request.
``?seconds=2`` makes any other answer take that long. Only the standard library is used.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = int(os.environ.get("PORT", "8080"))
LONGEST_SECONDS = 60.0
stopping = threading.Event()


class WhoAmI(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "whoami"
    timeout = 5  # an idle kept-alive connection must not hold up the end of the process

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, {"status": "alive"})
        elif self.path == "/readyz":
            self.answer(*((503, {"status": "stopping"}) if stopping.is_set() else (200, {"status": "ready"})))
        else:
            time.sleep(self.seconds())
            self.answer(200, {"hostname": socket.gethostname(), "path": self.path, "headers": dict(self.headers)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.answer(200, {"hostname": socket.gethostname(), "path": self.path, "bytes": len(body)})

    def seconds(self) -> float:
        """How long the answer is asked to take."""
        try:
            return min(max(float(parse_qs(urlsplit(self.path).query)["seconds"][0]), 0.0), LONGEST_SECONDS)
        except (KeyError, ValueError):
            return 0.0

    def answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document, indent=2).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if stopping.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        if self.path not in {"/healthz", "/readyz"}:
            print(format % args, flush=True)


def main() -> None:
    server = ThreadingHTTPServer(("0.0.0.0", PORT), WhoAmI)  # noqa: S104
    server.daemon_threads = False  # requests under way are finished before the process ends

    def stop(_signal: int, _frame: object) -> None:
        stopping.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"Listening port={PORT}", flush=True)
    server.serve_forever()
    server.server_close()
    print("Stopped", flush=True)


if __name__ == "__main__":
    main()
