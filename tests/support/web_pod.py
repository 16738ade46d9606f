"""The web server of tests' pods: in the test's own process (``pods.pod``), and in real pods whose image has aiohttp, as ours does.

``/sse``, ``/ws``, ``/silent``, ``/drip``, ``/download`` and ``/upload`` do what they are called; ``/status`` says ``code``, after
``seconds`` if there are any. ``/v1/chat/completions`` is a model that says WORDS to everybody; in a stream each one only when a request
for ``/v1/heard`` has come for the one before. ``/seen`` tells all requests so far; whatever else is asked is echoed.

A real pod gets this text by an environment variable, so nothing of ours is imported. Nothing is kept of bodies: what is large must pass.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler, Middleware

Body = dict[str, Any]
PORT = 8080
MIB = 1_048_576
WORDS = ("The", " anchor", " holds", ".")
UNHEARD_SECONDS = 20.0
"""How long the model waits for the client's word."""


def application(seen: list[Body]) -> web.Application:
    """The server; ``seen`` gets the method, path and headers of each request."""

    async def sse(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(int(request.query.get("events", "4"))):
            await answer.write(f"data: {number} {time.monotonic()}\n\n".encode())
            await asyncio.sleep(float(request.query.get("pause", "0.5")))
        return answer

    async def talk(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=("chat",))
        await answer.prepare(request)
        async for message in answer:
            if message.type is WSMsgType.TEXT:
                await answer.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await answer.send_bytes(message.data)
        return answer

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return web.Response(text="done")

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(int(request.query["pieces"])):
            await answer.write(b"x" * 1000)
            await asyncio.sleep(float(request.query["pause"]))
        return answer

    async def download(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        piece = bytes(MIB)
        for _ in range(int(request.query["mib"])):
            await answer.write(piece)
        return answer

    async def upload(request: web.Request) -> web.Response:
        size, digest = 0, hashlib.sha256()
        async for piece in request.content.iter_any():
            size += len(piece)
            digest.update(piece)
        return web.json_response({"size": size, "sha256": digest.hexdigest()})

    async def status(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query.get("seconds", "0")))
        return web.Response(status=int(request.query["code"]), text="the container's own words", headers={"x-own": "yes"})

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(seen)

    async def echo(request: web.Request) -> web.Response:
        by = request.get_extra_info("sockname")[1]
        return web.Response(body=json.dumps({**seen[-1], "by": by}), content_type="application/json")

    made = web.Application(middlewares=[_noting(seen)], client_max_size=0)
    known = {"sse": sse, "ws": talk, "silent": silent, "drip": drip, "download": download, "upload": upload, "status": status}
    for path, handler in (*known.items(), ("seen", tell)):
        made.router.add_route("*", f"/{path}", handler)
    _add_model(made)
    made.router.add_route("*", "/{rest:.*}", echo)
    return made


def _add_model(made: web.Application) -> None:
    heard = asyncio.Semaphore(0)

    def told(kind: str, **choice: Any) -> Body:
        return {"id": "toy-1", "object": kind, "created": int(time.time()), "model": "toy", "choices": [{"index": 0, **choice}]}

    async def complete(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            return web.json_response(told("chat.completion", finish_reason="stop", message=message))
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for word in WORDS:
            await answer.write(f"data: {json.dumps(told('chat.completion.chunk', delta={'content': word}))}\n\n".encode())
            await asyncio.wait_for(heard.acquire(), UNHEARD_SECONDS)  # else the answer is cut short, which the client will notice
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def hear(_: web.Request) -> web.Response:
        heard.release()
        return web.Response()

    made.router.add_post("/v1/chat/completions", complete)
    made.router.add_post("/v1/heard", hear)


def _noting(seen: list[Body]) -> Middleware:
    """Keep what was asked."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append({"method": request.method, "path": request.raw_path, "headers": headers})
        return await handler(request)

    return note


def main() -> None:
    web.run_app(application([]), port=PORT, access_log=None, print=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
