"""The client that most AI teams use, as it is: the official ``openai`` package streams from a service behind an endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from hack.cluster.control import ControlCluster
from roadstead.api.identity import object_id
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply
from tests.support.gateways import endpoints, gateway_access, own_address, running_gateway
from tests.support.rest import account
from tests.world import here

WORDS = ("The", " anchor", " holds", ".")


class Toy(BaseHTTPRequestHandler):
    """A model that says the same to everybody, a word at a time, and waits until the client has it."""

    protocol_version = "HTTP/1.1"
    heard = threading.Semaphore(0)
    authorization: str | None = "never asked"

    def do_POST(self) -> None:
        Toy.authorization = self.headers.get("authorization")
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        if not asked.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(WORDS)}}
            body = json.dumps({**self.head("chat.completion"), "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in WORDS:
            self.event(json.dumps({**self.head("chat.completion.chunk"), "choices": [{"index": 0, "delta": {"content": word}}]}))
            assert Toy.heard.acquire(timeout=20), "the client didn't get the word before the next one was said"
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def head(self, kind: str) -> dict[str, object]:
        return {"id": "toy-1", "object": kind, "created": int(time.time()), "model": "toy"}

    def event(self, data: str) -> None:
        text = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def toy() -> Iterator[int]:
    server = ThreadingHTTPServer((own_address(), 0), Toy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def client(cluster: ControlCluster, namespace: str) -> Iterator[openai.OpenAI]:
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    name = raw_workload()["metadata"]["name"]
    token = account(cluster, namespace, "caller", "roadstead-invoke")
    with toy() as port, running_gateway(cluster, gateway_access(cluster)) as gateway:
        endpoints(cluster, namespace, name, port)
        url = f"{gateway.url}/api/v2/endpoints/workloads/{object_id('workloads', namespace, name)}/v1"
        with openai.OpenAI(base_url=url, api_key=token, timeout=30, max_retries=0) as made:
            yield made


def test_the_openai_client_streams(client: openai.OpenAI) -> None:
    question: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Does it hold?"}]
    whole = client.chat.completions.create(model="toy", messages=question)
    assert whole.choices[0].message.content == "".join(WORDS)
    said = []
    with client.chat.completions.create(model="toy", messages=question, stream=True) as stream:
        for chunk in stream:
            said.append(chunk.choices[0].delta.content)
            Toy.heard.release()  # each word arrives before the service says the next one: nothing is gathered on the way
    assert tuple(said) == WORDS
    assert Toy.authorization is None
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nobody").chat.completions.create(model="toy", messages=question)
