"""Tokens through a real Envoy with its agent: what is charged is what was used, over two replicas and for streams that
are cut, and what a client sees of it is what it asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import RoutingTable
from spillway.runtime.gateway.token_budgets import TokenBudgets
from tests.support.chat_rig import CHAT, AgentRig, ChatRig
from tests.support.gateway_rig import ALPHA, MODEL
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

MESSAGES: list[Any] = [{"role": "user", "content": "Who pays for these?"}]
BUDGET = 4000


class Replica(AgentRig):
    """A gateway with its agent, whose clock stands: what is taken stays taken."""

    def __init__(self, folder: Path, replicas: int = 1) -> None:
        super().__init__(folder, lambda table: _with_budget(table, replicas))
        self.agent.budgets = TokenBudgets(self.table, now=lambda: 0.0)

    def generated(self) -> int:
        """Tokens read and made, as the engines count them."""
        counts = [self.backend(site).chat.queue.counts for site in Site]
        return sum(count.prompt_tokens + count.generation_tokens for count in counts)

    def charged(self) -> float:
        return sum(self.agent.budgets.charged.values())

    def left(self) -> float:
        metrics = self.http.request("GET", f"http://127.0.0.1:{self.table.listen.metrics_port}/agent/metrics").data
        found = next(line for line in metrics.decode().splitlines() if line.startswith("spillway_tokens_left"))
        return float(found.rpartition(" ")[2])


def _with_budget(table: RoutingTable, replicas: int) -> RoutingTable:
    alpha = table.clients[0].model_copy(update={"tokens_per_minute": {RequestClass.P0: BUDGET * replicas}})
    sites = tuple(site.model_copy(update={"slots": 16 * replicas}) for site in table.sites)
    return table.model_copy(update={"clients": (alpha, *table.clients[1:]), "replicas": replicas, "sites": sites})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Replica]:
    with Replica(tmp_path) as found:
        yield found


def stream(client: openai.OpenAI, tokens: int, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=tokens, stream=True, **more)


def ask_everything(rig: Replica) -> float:
    """Whole, streamed, on each site, refused, cut by the client and cut by the server; the sum of what was used."""
    used = 0
    for site in Site:
        client: Any = rig.client("P0", site=site)
        chat = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=5)
        text = client.completions.create(model=MODEL, prompt="Who?", max_tokens=4)
        response = client.responses.create(model=MODEL, input="Who?", max_output_tokens=3)
        parts = list(stream(client, 6, stream_options={"include_usage": True}))
        streamed = list(client.responses.create(model=MODEL, input="Who?", max_output_tokens=2, stream=True))
        for said in (chat.usage, text.usage, response.usage, parts[-1].usage, streamed[-1].response.usage):
            used += said.total_tokens
        for _ in stream(client, 7):
            pass
        used += 7 + chat.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=-1)
    every = {"include_usage": True, "continuous_usage_stats": True}
    rig.backend(Site.PRIVATE).set(token_s=0.3)
    with stream(rig.client("P0"), 50, extra_body={"stream_options": every}) as cut:
        for part in cut:
            if part.usage.completion_tokens == 3:
                break
    used += part.usage.total_tokens
    rig.backend(Site.PRIVATE).set(token_s=0.01, dies_after=4)
    with pytest.raises(openai.APIConnectionError):
        list(stream(rig.client("P0"), 50))
    return used + 4 + chat.usage.prompt_tokens


def test_what_is_charged_is_what_was_used(tmp_path: Path) -> None:
    """Two replicas, cut streams included, by the engines' own count and by what the answers said."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(Replica(tmp_path / name, replicas=2)) for name in folders(tmp_path)]
        used = sum(ask_everything(replica) for replica in replicas)
        eventually(lambda: sum(replica.charged() for replica in replicas) >= used, what="everything is charged")
        assert sum(replica.charged() for replica in replicas) == used
        assert sum(replica.generated() for replica in replicas) == used
        assert [replica.left() for replica in replicas] == [BUDGET - replica.charged() for replica in replicas]


def folders(tmp_path: Path) -> list[str]:
    names = ["one", "two"]
    for name in names:
        (tmp_path / name).mkdir()
    return names


def test_who_has_used_his_budget_is_refused_and_the_next_class_is_not(rig: Replica) -> None:
    asked = partial(rig.client("P0").chat.completions.create, model=MODEL, messages=MESSAGES, max_tokens=400)
    for _ in range(BUDGET // 440):
        asked()
    with pytest.raises(openai.RateLimitError) as caught:
        asked()
    assert "token budget of P0" in str(caught.value)
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert rig.client("P1").chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=400).choices
    eventually(lambda: rig.agent.budgets.charged["alpha", "P1"] > 400)
    assert rig.agent.budgets.charged["alpha", "P0"] <= BUDGET
    assert rig.agent.budgets.refused == {("alpha", "P0"): 1}


def test_what_is_reserved_counts_while_it_is_not_used(rig: Replica) -> None:
    """Of many at once no more are let in than the budget holds, however short they might become."""
    rig.backend(Site.PRIVATE).set(token_s=0.2)
    with stream(rig.client("P0"), BUDGET - 200), pytest.raises(openai.RateLimitError):
        stream(rig.client("P0"), 400)
    eventually(lambda: rig.left() > BUDGET - 200, what="what was not used is given back")
    assert list(stream(rig.client("P0"), 5))


def test_how_long_streams_took_is_counted_by_class(rig: Replica) -> None:
    """As their client sees it: tokens that come late, and streams that nobody takes."""
    rig.backend(Site.PRIVATE).set(first_token_s=0.3, token_s=0.03)
    list(stream(rig.client("P0"), 11))
    rig.backend(Site.PRIVATE).set(first_token_s=0.01)
    list(stream(rig.client("P0"), 1))
    rig.client("P0").chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    for site in Site:
        rig.backend(site).status = 503
    with pytest.raises(openai.InternalServerError):
        stream(rig.client("P0"), 1)

    def counted() -> list[str]:
        address = f"http://127.0.0.1:{rig.table.listen.metrics_port}/agent/metrics"
        lines = rig.http.request("GET", address).data.decode().splitlines()
        return [line for line in lines if 'class="P0"' in line]

    eventually(lambda: 'spillway_first_token_seconds_count{class="P0"} 3' in counted(), what="three are counted")
    found = counted()
    for end, below in (("0.25", 1), ("2.0", 2), ("+Inf", 3)):
        assert f'spillway_first_token_seconds_bucket{{class="P0",le="{end}"}} {below}' in found
    for end, below in (("0.02", 0), ("0.1", 1), ("+Inf", 1)):
        assert f'spillway_token_seconds_bucket{{class="P0",le="{end}"}} {below}' in found


def test_without_the_agent_nobody_is_refused(tmp_path: Path) -> None:
    with ChatRig(tmp_path, lambda table: _with_budget(table, 1)) as rig:
        assert rig.client("P0").chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=1)


OPTIONS = {
    "nothing": (None, 0, False),
    "the last": ({"include_usage": True}, 1, True),
    "each": ({"include_usage": True, "continuous_usage_stats": True}, 8, True),
    "not": ({"include_usage": False}, 0, False),
}


@pytest.mark.parametrize("asked", OPTIONS)
def test_a_client_sees_the_usage_that_it_asked_for(rig: Replica, asked: str) -> None:
    """Beside what it would get from the server itself."""
    options, parts, last = OPTIONS[asked]
    more = {} if options is None else {"stream_options": options}
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 5, "stream": True, **more}
    got = rig.post(body, class_="P0", headers={"x-spillway-key": ALPHA}, path=CHAT).body
    server = f"http://127.0.0.1:{rig.servers[Site.PRIVATE].port}{CHAT}"
    direct = rig.http.request("POST", server, json={**body}).data
    assert events(got) == events(direct)
    found = events(got)
    assert sum("usage" in event for event in found) == parts
    assert (found[-1]["choices"] == []) is last


def events(content: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in content.decode().split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    found = [json.loads(line) for line in lines]
    return [{key: value for key, value in each.items() if key not in ("id", "created")} for each in found]


def test_usage_stands_in_the_log_and_in_the_metrics(rig: Replica) -> None:
    rig.client("P0").chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=5)
    wanted = 'spillway_tokens_total{client="alpha",class="P0",site="private",model="m",kind="completion"} 5'

    def told() -> bool:
        url = f"http://127.0.0.1:{rig.table.listen.metrics_port}/agent/metrics"
        return wanted in rig.http.request("GET", url).data.decode()

    eventually(told)

    def logged() -> bool:
        lines = [line for line in (rig.folder / "envoy.log").read_text().splitlines() if line.startswith("{")]
        return [json.loads(line)["completion_tokens"] for line in lines] == [5]

    eventually(logged)
