"""A stream that breaks, through a real Envoy with its agent: what goes on elsewhere is what an unbroken one gives, and
what cannot ends with an error that OpenAI's library raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import RoutingTable
from tests.support.chat_rig import CHAT, POISON, AgentRig
from tests.support.gateway_rig import ALPHA, MODEL
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

MESSAGES: list[Any] = [{"role": "user", "content": "Does the rest of it come, too?"}]
TOKENS = 12
GREEDY: dict[str, Any] = {"temperature": 0}


def _resuming(table: RoutingTable) -> RoutingTable:
    classes = tuple(c.model_copy(update={"resume_streams": True}) for c in table.classes)
    alpha = table.clients[0].model_copy(update={"tokens_per_minute": {RequestClass.P0: 10**6}})
    return table.model_copy(update={"classes": classes, "clients": (alpha, *table.clients[1:])})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[AgentRig]:
    """The agent's relay is in the way of every class's streams. One for each test: a server that breaks three streams
    in a row is put out for a while."""
    with AgentRig(tmp_path, _resuming) as running:
        yield running


def stream(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=TOKENS, stream=True, **more)


def text_of(parts: list[Any]) -> str:
    return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)


def asked(rig: AgentRig) -> list[tuple[str, str]]:
    """By clients: the agent's first probe may come at any time."""
    assert rig.table.probe
    probe = rig.table.probe.body.encode()
    seen = [(site, request) for site in Site for request in rig.backend(site).seen]
    return [(site.value, request.path) for site, request in seen if request.body != probe]


@pytest.mark.parametrize("after", [1, 5, TOKENS - 1])
@pytest.mark.parametrize("path", ["/v1/completions", "/invocations"], ids=["azure_ml", "sagemaker"])
def test_a_stream_that_breaks_goes_on_at_another_site(rig: AgentRig, path: str, after: int) -> None:
    """The stand-ins refuse ids that are not of the very answer, and go on from where these end."""
    if path == "/invocations":
        rig.backend(Site.AZURE_ML).status = 503
    usage = {"stream_options": {"include_usage": True}}
    whole = list(stream(rig.client("P0"), **GREEDY, **usage))
    rig.backend(Site.PRIVATE).seen.clear()
    rig.backend(Site.PRIVATE).set(dies_after=after)
    broken = list(stream(rig.client("P0"), **GREEDY, **usage))
    assert text_of(broken) == text_of(whole)
    assert [part.choices[0].finish_reason for part in broken if part.choices][-1] == "length"
    assert broken[-1].usage == whole[-1].usage
    assert {part.id for part in broken} == {broken[0].id}
    assert asked(rig)[0] == ("private", CHAT)
    assert asked(rig)[1][1] == path


def test_it_goes_on_once_as_it_may_be_what_breaks_servers(rig: AgentRig) -> None:
    for site in Site:
        rig.backend(site).set(dies_after=1)
    with pytest.raises(openai.APIError, match="it broke there, too"):
        list(stream(rig.client("P0"), **GREEDY))
    assert [site for site, _ in asked(rig)] == ["private", "azure_ml"]


def test_a_server_that_is_gone_is_followed_by_its_neighbour_elsewhere(rig: AgentRig) -> None:
    """The server stops in the middle and takes nothing more: no token is lost, and none comes twice."""
    private = rig.backend(Site.PRIVATE)
    whole = text_of(list(stream(rig.client("P0"), **GREEDY)))
    private.set(token_s=0.1)
    parts = iter(stream(rig.client("P0"), **GREEDY))
    begin = [next(parts) for _ in range(4)]
    rig.wait(private.stop())
    assert text_of([*begin, *parts]) == whole


NOT_EXACT: dict[str, dict[str, Any]] = {
    "sampled": {"temperature": 0.7},
    "by default sampled": {},
    "seeded": {"temperature": 0.7, "seed": 1},
    "tools": {**GREEDY, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "schema": {**GREEDY, "response_format": {"type": "json_object"}},
    "stop words": {**GREEDY, "stop": ["room"]},
    "penalty": {**GREEDY, "frequency_penalty": 0.5},
}


@pytest.mark.parametrize("name", NOT_EXACT)
def test_what_would_not_be_the_same_ends_with_an_error(rig: AgentRig, name: str) -> None:
    rig.backend(Site.PRIVATE).set(dies_after=5)
    got: list[Any] = []
    with pytest.raises(openai.APIError, match="only a greedy answer"):
        got.extend(stream(rig.client("P0"), **NOT_EXACT[name]))
    assert {site for site, _ in asked(rig)} == {"private"}


def test_a_stream_that_does_not_break_is_the_servers_own(rig: AgentRig) -> None:
    """Byte for byte, whether or not its ids were asked for."""
    for more in ({}, GREEDY):
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": TOKENS, "stream": True, **more}
        got = rig.post(body, class_="P0", headers={"x-spillway-key": ALPHA}, path=CHAT)
        direct = rig.http.request("POST", f"http://127.0.0.1:{rig.servers[Site.PRIVATE].port}{CHAT}", json=body)
        assert said(got.body) == said(direct.data)
        assert got.headers["content-type"] == direct.headers["content-type"]
        assert got.site == "private"


def said(content: bytes) -> list[str]:
    """Events without what differs by the moment."""
    return [event.partition('"model"')[2] for event in content.decode().split("\n\n")]


def test_refusals_and_failures_pass_as_they_are(rig: AgentRig) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        rig.client("P0").chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=-1, stream=True)
    assert caught.value.param == "max_tokens"
    rig.backend(Site.PRIVATE).seen.clear()
    poison: list[Any] = [{"role": "user", "content": POISON}]
    with pytest.raises(openai.InternalServerError):
        rig.client("P0").chat.completions.create(model=MODEL, messages=poison, stream=True, **GREEDY)
    assert [site for site, _ in asked(rig)] == ["private", "azure_ml"]


def test_a_full_site_is_passed_over_before_anything_begins(rig: AgentRig) -> None:
    rig.backend(Site.PRIVATE).status = 503
    raw = rig.client("P0").chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, max_tokens=TOKENS, stream=True, **GREEDY
    )
    assert raw.headers["x-spillway-site"] == "sagemaker"
    assert len(list(raw.parse())) == TOKENS + 2


def test_a_client_that_leaves_ends_its_request(rig: AgentRig) -> None:
    backend = rig.backend(Site.PRIVATE)
    aborted = backend.chat.queue.counts.aborted
    backend.set(token_s=0.2)
    with stream(rig.client("P0"), **GREEDY) as left:
        next(iter(left))
    eventually(lambda: backend.chat.queue.counts.aborted > aborted)
    assert asked(rig) == [("private", CHAT)]


def test_what_is_delivered_is_charged_once(rig: AgentRig) -> None:
    rig.backend(Site.PRIVATE).set(dies_after=5)
    list(stream(rig.client("P0"), **GREEDY))

    def completion() -> float:
        return sum(tokens for key, tokens in rig.agent.budgets.used.items() if key[-1] == "completion")

    eventually(lambda: completion() > 0)
    assert completion() == TOKENS
