"""A drill of chats against a stand-in for vLLM: first tokens, further ones, streams that are cut."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from spillway.contracts.classes import SITE_HEADER, RequestClass
from spillway.contracts.server_routes import CHAT_PATH
from spillway.drill.chat import ChatWorkload, Stream
from spillway.drill.plan import DrillPlan, Phase
from spillway.drill.report import render_table, write_html
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.twin.data_plane.processes.chat_queue import QueueOptions
from spillway.twin.data_plane.processes.chat_server import ChatServer
from spillway.twin.data_plane.processes.child import free_port

P0, P1, _ = RequestClass


@dataclass
class Gateway:
    """A stand-in for vLLM that says it is the private site. ``cut_after``: tokens after which every stream breaks."""

    options: QueueOptions
    cut_after: int | None = None
    port: int = field(default_factory=free_port)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> Gateway:
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _start(self) -> None:
        app = ChatServer("m", self.options).app()
        app.on_response_prepare.append(self._sign)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers[SITE_HEADER] = "private"
        if self.cut_after is not None and request.transport:
            wait = self.options.first_token_s + self.options.token_s * (self.cut_after - 0.5)
            self.loop.call_later(wait, request.transport.abort)


@pytest.fixture
def server() -> Iterator[Gateway]:
    with Gateway(QueueOptions(max_num_seqs=64, first_token_s=0.03, token_s=0.01)) as running:
        yield running


def drill(gateway: Gateway, seconds: float = 0.6):
    target = DrillTarget(f"http://127.0.0.1:{gateway.port}", "m", ChatWorkload("m", tokens=8), CHAT_PATH)
    return run_drill(target, DrillPlan("chat", (Phase("all", seconds),), {P0: 20.0, P1: 10.0}))


def test_first_tokens_and_further_ones_are_timed(server: Gateway, tmp_path: Path) -> None:
    found = drill(server)
    p0 = found.totals["P0"]
    assert p0.chat is not None
    assert p0.lost == 0
    assert p0.answered == {"private": p0.requests}
    assert p0.chat.ttft_p50_ms is not None
    assert p0.chat.tpot_p50_ms is not None
    assert 30 <= p0.chat.ttft_p50_ms < 300
    assert 10 <= p0.chat.tpot_p50_ms < 60
    assert (p0.chat.cut, p0.chat.tokens, p0.chat.tokens_lost) == (0, 8 * p0.requests, 0)
    columns = [str(column.header) for column in render_table(found).columns]
    assert {"TTFT P99 ms", "TPOT P99 ms", "cut", "tokens lost"} <= set(columns)
    write_html(found, tmp_path / "drill.html", {"stack": "test"})
    assert "tokens lost" in (tmp_path / "drill.html").read_text()


def test_a_stream_that_is_cut_is_lost_with_what_had_come() -> None:
    with Gateway(QueueOptions(max_num_seqs=64, first_token_s=0.02, token_s=0.05)) as gateway:
        target = DrillTarget(f"http://127.0.0.1:{gateway.port}", "m", ChatWorkload("m", tokens=8), CHAT_PATH)
        plan = DrillPlan("chat", (Phase("all", 0.5),), {P0: 20.0})
        threading.Timer(0.45, lambda: setattr(gateway, "cut_after", 3)).start()
        found = run_drill(target, plan).totals["P0"]
    assert found.chat is not None
    assert found.chat.cut == found.lost > 0
    assert found.chat.tokens_lost > 0
    assert found.chat.tokens == found.chat.tokens_lost + 8 * (found.requests - found.lost)


def test_events_are_read_however_they_are_cut_into_parts() -> None:
    text = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    text += b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n'
    for size in (1, 7, len(text)):
        stream = Stream()
        for at in range(0, len(text), size):
            stream.take(text[at : at + size], float(at))
        assert (len(stream.tokens), stream.count, stream.ended) == (1, 1, True)


def test_a_token_without_a_text_of_its_own_counts() -> None:
    """As vLLM tells one that is part of a character: its text comes with the next."""
    stream = Stream()
    for count, text in enumerate(("", "\u00e4", ""), start=1):
        event = {"choices": [{"delta": {"content": text}}], "usage": {"completion_tokens": count}}
        stream.take(b"data: " + json.dumps(event).encode() + b"\n\n", float(count))
    assert (stream.tokens, stream.count) == ([2.0], 3)
