"""What the private cluster says about itself: vLLM's counters become tokens a minute, and nothing becomes no metric."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from spillway.contracts import metrics
from spillway.contracts.classes import Site
from spillway.contracts.routing import Heartbeat, SiteRoute
from spillway.runtime.gateway import private_capacity
from spillway.runtime.gateway.private_capacity import TokenCounter, publish

VLLM = """# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {prompt}
vllm:generation_tokens_total{{engine="0",model_name="m"}} {generated}
vllm:num_requests_waiting{{engine="0",model_name="m"}} 3.0
"""
TRITON = 'nv_inference_request_success{model="m",version="1"} 7\n'


def readings(pages: list[str], clock: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """What a counter says of a server whose metrics read like ``pages``, one after the other."""
    left = list(pages)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=left.pop(0))

    async def read() -> list[float | None]:
        app = web.Application()
        app.router.add_get("/metrics", metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        route = SiteRoute.model_construct(site=Site.PRIVATE, host="127.0.0.1", port=port)
        async with aiohttp.ClientSession() as session:
            counter = TokenCounter(route, session)
            found = []
            for at in clock:
                monkeypatch.setattr(private_capacity, "_now", lambda at=at: at)
                found.append(await counter.per_minute())
        await runner.cleanup()
        return found

    return asyncio.run(read())


def test_growth_becomes_tokens_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [VLLM.format(prompt="1000.0", generated="500.0"), VLLM.format(prompt="1.6e+03", generated="900.0")]
    assert readings(pages, [0.0, 30.0], monkeypatch) == [None, pytest.approx(2000.0)]


def test_a_server_that_started_anew_counts_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [VLLM.format(prompt="9000.0", generated="0.0"), VLLM.format(prompt="100.0", generated="20.0")]
    assert readings(pages, [0.0, 60.0], monkeypatch) == [None, pytest.approx(120.0)]


def test_triton_counts_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert readings([TRITON, TRITON], [0.0, 60.0], monkeypatch) == [None, None]


@pytest.mark.parametrize(
    ("tokens", "names"), [(None, ["PrivateServers"]), (5.0, ["PrivateServers", "PrivateTokensPerMinute"])]
)
def test_what_is_not_known_is_not_published(tokens: float | None, names: list[str]) -> None:
    sent: list[dict[str, Any]] = []
    values = {metrics.PRIVATE_SERVERS: 2, metrics.PRIVATE_TOKENS: tokens}
    publish(Heartbeat(region="eu-west-1", gateway="g"), values, lambda **call: sent.append(call))
    assert [datum["MetricName"] for datum in sent[0]["MetricData"]] == names
    assert sent[0]["MetricData"][0]["Value"] == 2
