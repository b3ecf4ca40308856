"""Clients of other kinds, on a real Envoy: web pages, and what still speaks HTTP/1.0."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from components.gateway.settings import GatewaySettings
from spillway.contracts.classes import Site
from spillway.contracts.usage import Usage
from spillway.runtime.gateway import usage_log
from tests.support.gateway_rig import ALPHA, INFER, MODEL, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

PAGE, OTHER = "https://app.example.com", "https://elsewhere.example.com"
BODY = '{"inputs":[]}'


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("gateway")
    with Rig(folder, lambda table: table.model_copy(update={"cors_origins": (PAGE,)})) as rig:
        yield rig


def ask(rig: Rig, method: str, path: str = INFER, body: str | None = None, **headers: str) -> Any:
    url = f"http://127.0.0.1:{rig.table.listen.port}{path}"
    return rig.http.request(
        method, url, body=body, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def preflight(rig: Rig, origin: str) -> Any:
    """As a browser asks (Fetch standard, CORS-preflight fetch): no key, no body."""
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,x-spillway-key"}
    return ask(rig, "OPTIONS", origin=origin, **asked)


def test_a_page_of_the_list_is_let_in(rig: Rig) -> None:
    answer = preflight(rig, PAGE)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"content-type", "x-spillway-key"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert "POST" in answer.headers["access-control-allow-methods"]
    answer = ask(rig, "POST", body=BODY, origin=PAGE, content_type="application/json", x_spillway_key=ALPHA)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-spillway-site" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("key", [ALPHA, "nobody's"])
def test_a_page_may_read_what_went_wrong(rig: Rig, key: str) -> None:
    answer = ask(rig, "POST", body="hello", origin=PAGE, x_spillway_key=key)
    assert answer.status == (400 if key == ALPHA else 401)
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_another_page_is_not(rig: Rig) -> None:
    answer = preflight(rig, OTHER)
    assert answer.status == 405
    assert "access-control-allow-origin" not in answer.headers
    answer = ask(rig, "POST", body=BODY, origin=OTHER, x_spillway_key=ALPHA)
    assert "access-control-allow-origin" not in answer.headers


def test_without_a_list_nobody_is_answered_first(running: Rig) -> None:
    assert preflight(running, PAGE).status == 405


@pytest.mark.parametrize("path", ["/v2/repository/index", "/nothing"])
def test_what_is_closed_stays_closed(rig: Rig, path: str) -> None:
    assert ask(rig, "POST", path, body=BODY, origin=PAGE, x_spillway_key=ALPHA).status == 403


@pytest.mark.parametrize("host", ["host: g\r\n", ""])
def test_http_1_0_is_answered(rig: Rig, host: str) -> None:
    rig.servers[Site.PRIVATE].seen.clear()
    head = f"POST {INFER} HTTP/1.0\r\n{host}x-spillway-key: {ALPHA}\r\ncontent-type: application/json\r\n"
    assert rig.raw(f"{head}content-length: {len(BODY)}\r\n\r\n{BODY}") == 200
    assert len(rig.servers[Site.PRIVATE].seen) == 1


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.com", f"{PAGE}/", f"{PAGE}/page", "https://App.example.com"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        GatewaySettings.model_validate({"cors_origins": [origin]})


def test_the_agent_is_told_who_had_tensors_answered_and_by_whom(rig: Rig) -> None:
    """Not of those whom nobody knows, nor of what asks for the gateway's own health."""
    told: list[Usage] = []
    server = run(rig, usage_log.serve(rig.table.listen.usage_port, told.append))
    try:
        assert ask(rig, "POST", body=BODY, x_spillway_key="nobody's").status == 401
        assert ask(rig, "GET", "/healthz").status == 200
        assert ask(rig, "POST", body=BODY, x_spillway_key=ALPHA, x_spillway_class="P0").status == 200
        eventually(lambda: any(one.request_class == "P0" for one in told), what="Envoy tells")
        assert {one.client for one in told} == {"alpha"}
        (one,) = (one for one in told if one.request_class == "P0")
        assert (one.client, one.request_class, one.site, one.model) == ("alpha", "P0", "private", MODEL)
        assert (one.status, one.prompt, one.reserved) == (200, None, None)
        assert one.duration_ms is not None
        assert one.duration_ms < 5000
    finally:
        run(rig, close(server))


def run(rig: Rig, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, rig.loop).result(20)


async def close(server: asyncio.Server) -> None:
    server.close()
