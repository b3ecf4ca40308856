"""vLLM's server without a model: its routes, its forms and its refusals, with the times of :mod:`.chat_queue`.

``python -m spillway.twin.data_plane.processes.chat_server --port N --model NAME --options file.json [--drain-s 30]``

For drills about capacity and for tests of the way to an answer; what it says means nothing. The forms are those of
vLLM 0.30 (``vllm/entrypoints/openai``, ``pooling``, ``serve/exception_handling``). ``/invocations`` is as in AWS's
container: the route that its header names (the middleware in ``scripts/docker/vllm`` of its repository,
https://github.com/aws/deep-learning-containers), else what the body is for. At SIGTERM it takes nothing new, finishes
what it has within ``--drain-s`` (``--shutdown-timeout``) and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from aiohttp import web

from spillway.contracts.routing import ROUTE_HEADER
from spillway.contracts.server_routes import VLLM_VERSION
from spillway.twin.data_plane.processes.chat_forms import CHAT, POOLED, RESPONSE, TEXT, Answer, Form, pooled
from spillway.twin.data_plane.processes.chat_queue import (
    ChatQueue,
    QueueFullError,
    QueueOptions,
    ServerGoneError,
    ids_of,
    read_ids,
    tokens_in,
)

PRIORITY_HEADER: Final = "X-Vllm-Priority"
DEFAULT_TOKENS: Final = 16
"""Answers are as long as asked for; without a word about it, so long."""
BUSY: Final = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)
MAX_BODY_BYTES: Final = 64 << 20


class InvalidError(Exception):
    """The client is at fault. ``status``: 400 or 404."""

    def __init__(self, message: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param


class ChatServer:
    """The HTTP side of one engine."""

    def __init__(self, model: str, options: QueueOptions) -> None:
        self.model = model
        self.queue = ChatQueue(options)
        self.ending = False
        self.answering = 0
        self._routes = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/responses": self._response,
            **{path: partial(self._pooled, path) for path in POOLED},
        }

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._errors])
        app.router.add_get("/health", self._health)
        app.router.add_get("/ping", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/invocations", self._invocations)
        for path, handler in self._routes.items():
            app.router.add_post(path, handler)
        return app

    async def drained(self, within_s: float) -> None:
        """Nothing new from now on; returns when the last answer is out, or the time is."""
        self.ending = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.answering:
                    await asyncio.sleep(0.02)

    @web.middleware
    async def _errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.answering += 1
        try:
            return await handler(request)
        except InvalidError as error:
            kind = "NotFoundError" if error.status == 404 else "BadRequestError"
            return _error(error.status, kind, str(error), error.param)
        except QueueFullError:
            return _error(503, "Service Unavailable", BUSY)
        except ServerGoneError:
            if request.transport:
                request.transport.abort()
            return web.Response()
        finally:
            self.answering -= 1

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self.ending else 200)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": f"{VLLM_VERSION}+standin"})

    async def _models(self, _: web.Request) -> web.Response:
        card = {"id": self.model, "object": "model", "created": 0, "owned_by": "vllm", "root": self.model}
        return web.json_response({"object": "list", "data": [card]})

    async def _invocations(self, request: web.Request) -> web.StreamResponse:
        named = re.search(r"route=(/[^\s,]+)", request.headers.get(ROUTE_HEADER, ""))
        if named is None:
            body = await self._body(request)
            return await (self._completion if "prompt" in body else self._chat)(request)
        if named[1] not in self._routes:
            raise web.HTTPNotFound
        return await self._routes[named[1]](request)

    async def _pooled(self, path: str, request: web.Request) -> web.Response:
        body = await self._body(request)
        if not self.queue.options.pooling:
            raise InvalidError("The model does not support Embeddings API")
        self.queue.admit()
        answer, tokens = pooled(path, body)
        async for _ in self.queue.generate(" ".join(tokens), 1, self._priority(request, body)):
            pass
        usage = {"prompt_tokens": len(tokens), "total_tokens": len(tokens), "completion_tokens": 0}
        return web.json_response({"id": f"pool-{uuid4().hex}", "model": self.model, **answer, "usage": usage})

    async def _metrics(self, _: web.Request) -> web.Response:
        queue, counts = self.queue, self.queue.counts
        values = {
            "vllm:num_requests_running": queue.running,
            "vllm:num_requests_waiting": queue.waiting,
            "vllm:kv_cache_usage_perc": queue.kv_share,
            "vllm:prompt_tokens_total": counts.prompt_tokens,
            "vllm:generation_tokens_total": counts.generation_tokens,
            "vllm:admission_rejections_total": counts.rejected,
        }
        labels = f'model_name="{self.model}",engine="0"'
        lines = [f"{name}{{{labels}}} {value}" for name, value in values.items()]
        for reason, value in (("length", counts.ended), ("abort", counts.aborted)):
            lines.append(f'vllm:request_success_total{{finished_reason="{reason}",{labels}}} {value}')
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        messages = body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
            raise InvalidError("1 validation error: 'messages': Field required", param="messages")
        prompt = "\n".join(str(each.get("content")) for each in messages)
        return await self._answer(request, body, prompt, CHAT)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        prompt, begin = body.get("prompt"), 0
        if isinstance(prompt, list):
            try:
                prompt, begin = read_ids(prompt)
            except ValueError as error:
                raise InvalidError(str(error), param="prompt") from None
        if not isinstance(prompt, str):
            raise InvalidError("1 validation error: 'prompt': Field required", param="prompt")
        return await self._answer(request, body, prompt, TEXT, begin)

    async def _response(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if not (asked := body.get("input")):
            raise InvalidError("1 validation error: 'input': Field required", param="input")
        return await self._answer(request, body, asked if isinstance(asked, str) else json.dumps(asked), RESPONSE)

    @staticmethod
    def _priority(request: web.Request, body: dict[str, Any]) -> int:
        return int(request.headers.get(PRIORITY_HEADER, body.get("priority") or 0))

    async def _body(self, request: web.Request) -> dict[str, Any]:
        if self.ending:
            raise QueueFullError
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            raise InvalidError(f"JSON decode error: {error}") from None
        if not isinstance(body, dict):
            raise InvalidError("Input should be a valid dictionary")
        if body.get("model") not in (None, "", self.model):
            raise InvalidError(f"The model `{body['model']}` does not exist.", 404, "model")
        return body

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, form: Form, begin: int = 0
    ) -> web.StreamResponse:
        count = next((body[name] for name in form.limits if body.get(name)), DEFAULT_TOKENS)
        if not isinstance(count, int) or count < 1:
            raise InvalidError("max_tokens must be at least 1", param="max_tokens")
        self.queue.admit()
        await asyncio.sleep(self.queue.options.render_s)
        tokens = self.queue.generate(prompt, count, self._priority(request, body), begin)
        ids = ids_of(prompt) if body.get("return_token_ids") else None
        read = tokens_in(prompt) + begin
        answer = form.answer(f"{form.prefix}{uuid4().hex}", int(time.time()), self.model, body, read, ids)
        if body.get("stream"):
            return await _stream(request, tokens, answer)
        text = [token async for token in tokens]
        return web.json_response(answer.whole(text))


async def _stream(request: web.Request, tokens: AsyncIterator[str], answer: Answer) -> web.StreamResponse:
    """The headers go at once, the first part with the first token, as vLLM's do."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)

    try:
        async with contextlib.aclosing(tokens):  # pyright: ignore[reportArgumentType]
            async for event in answer.events(tokens):
                await response.write(event.encode())
    except QueueFullError:
        if not answer.tells_refusals:
            raise ServerGoneError from None
        error = json.dumps({"error": _error_of(503, "Service Unavailable", BUSY)})
        await response.write(f"data: {error}\n\ndata: [DONE]\n\n".encode())
    await response.write_eof()
    return response


def _error(status: int, kind: str, message: str, param: str | None = None) -> web.Response:
    return web.json_response({"error": _error_of(status, kind, message, param)}, status=status)


def _error_of(status: int, kind: str, message: str, param: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": status}


async def _serve(server: ChatServer, port: int, drain_s: float) -> None:
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.drained(drain_s)
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--model", required=True, help="the name that is served")
    parser.add_argument("--options", required=True, type=Path, help="QueueOptions as JSON")
    parser.add_argument("--drain-s", type=float, default=30.0)
    args = parser.parse_args()
    options = QueueOptions.model_validate_json(args.options.read_text())
    asyncio.run(_serve(ChatServer(args.model, options), args.port, args.drain_s))


if __name__ == "__main__":
    main()
