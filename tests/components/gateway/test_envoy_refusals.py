"""Whoever is refused with 429 or 503 is told why in one word, and when to ask again: each reason, by a real Envoy."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.connections import Connections
from spillway.contracts.jobs import JobQueue
from spillway.contracts.refusals import REASON_HEADER, REFUSALS, Reason
from spillway.contracts.routing import RoutingTable
from spillway.contracts.web_tokens import TokenIssuer
from spillway.runtime.gateway.agent import Agent
from tests.support.gateway_rig import ALPHA, BETA, GAMMA, OPERATOR_KEY, Answer, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy
ALPHA_ASKS = {"x-spillway-key": ALPHA}
COMPLETIONS = "/v1/completions"
NOWHERE = "http://127.0.0.1:1"
CLAIMS = {"iss": "https://issuer.example", "aud": "a", "exp": 4102444800}
"""They expire in 2100."""


def of_nobody() -> str:
    """A token of an issuer that nobody reaches (RFC 7519, section 3.1)."""
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "a"}, CLAIMS))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"signed"))


class WithoutHelp(Rig):
    """A standby for chats whose agent reaches no bucket, whose issuer of tokens is gone, and whose key is withdrawn."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _without_help)
        (folder / "azure-key").write_text("withdrawn")
        self.agent = Agent(self.table)

    async def _start_servers(self) -> None:
        await super()._start_servers()
        self._runners.append(await self.agent.serve())


def _without_help(table: RoutingTable) -> RoutingTable:
    module = "spillway.runtime.gateway.sagemaker_jobs"
    queue = JobQueue(
        site=Site.SAGEMAKER, module=module, region="eu-isoe-west-1", queue_url=NOWHERE, bucket="b", requests="r/",
        marks="m/", endpoint="e", paths={COMPLETIONS: ""}, most_held=1,
    )  # fmt: skip
    issuer = TokenIssuer(issuer="https://issuer.example", audiences=("a",), jwks_url=f"{NOWHERE}/keys")
    alpha = table.clients[0].model_copy(update={"tokens_per_minute": {RequestClass.P0: 1}})
    changes = {"server": "vllm", "jobs": queue, "token_issuer": issuer, "clients": (alpha, *table.clients[1:])}
    return table.model_copy(update=changes).standby(1)


def _without_memory(table: RoutingTable) -> RoutingTable:
    return table.model_copy(update={"connections": Connections(memory_bytes=1 << 20)})


@pytest.fixture(scope="module")
def rigs(running: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Rig]]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in {"ENDPOINT_URL": NOWHERE, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            patch.setenv(f"AWS_{name}", value)
        alone = stack.enter_context(WithoutHelp(tmp_path_factory.mktemp("alone")))
        full = stack.enter_context(Rig(tmp_path_factory.mktemp("full"), _without_memory))
        yield {"usual": running, "alone": alone, "full": full}


@pytest.fixture
def rig(running: Rig) -> Iterator[Rig]:
    yield running
    for server in running.servers.values():
        server.delay_s, server.status, server.body = 0.0, 200, b'{"outputs":[]}'
    running.open()


def only(site: Site, **more: str) -> dict[str, str]:
    return {"x-spillway-operator-key": OPERATOR_KEY, "x-spillway-site": site.value, **more}


def above_its_rate(rig: Rig) -> Answer:
    return next(a for a in (rig.post(headers={"x-spillway-key": GAMMA}) for _ in range(50)) if a.status != 200)


def when_all_is_taken(rig: Rig) -> Answer:
    for server in rig.servers.values():
        server.delay_s = 0.5
    return next(a for a in rig.at_once(8, class_="P1", headers=ALPHA_ASKS) if a.status != 200)


def when_it_is_closed(rig: Rig) -> Answer:
    rig.open(lambda *_: False)
    found: list[Answer] = []

    def refused() -> bool:
        found.append(rig.post(class_="P2", headers=ALPHA_ASKS))
        return found[-1].status == 503

    # Envoy reads the file when it likes.
    eventually(refused, what="Envoy knows that all is closed")
    return found[-1]


def when_queues_are_full(rig: Rig) -> Answer:
    rig.servers[Site.PRIVATE].status, rig.servers[Site.PRIVATE].body = 503, b'{"error":"Exceeds maximum queue size"}'
    return rig.post(headers={"x-spillway-key": BETA})


def when_the_body_is_too_large_there(rig: Rig) -> Answer:
    return rig.post(json.dumps({"inputs": [], "x": "a" * (1 << 19)}).encode(), headers=only(Site.SAGEMAKER))


def chat(rig: Rig, class_: str = "P1", **headers: str) -> Answer:
    body = {"model": "m", "prompt": "Who?"}
    return rig.post(body, class_, {name.replace("_", "-"): value for name, value in headers.items()}, COMPLETIONS)


CASES: dict[Reason, tuple[str, Callable[[Rig], Answer]]] = {
    Reason.RATE: ("usual", above_its_rate),
    Reason.TOKENS: ("alone", lambda rig: [chat(rig, "P0", x_spillway_key=ALPHA) for _ in range(2)][-1]),
    Reason.DATA_STAYS: ("alone", lambda rig: chat(rig, x_spillway_key=BETA)),
    Reason.ISSUER: ("alone", lambda rig: chat(rig, authorization=f"Bearer {of_nobody()}")),
    Reason.FULL: ("usual", when_all_is_taken),
    Reason.UNREACHABLE: ("usual", when_it_is_closed),
    Reason.UNFIT: ("usual", when_the_body_is_too_large_there),
    Reason.CLOUD: ("alone", lambda rig: chat(rig, **only(Site.AZURE_ML))),
    Reason.SERVER: ("usual", when_queues_are_full),
    Reason.JOBS: ("alone", lambda rig: chat(rig, "P2", x_spillway_key=ALPHA, prefer="respond-async")),
    Reason.OVERLOADED: ("full", lambda rig: rig.post(headers=ALPHA_ASKS)),
}


@pytest.mark.parametrize("reason", Reason)
def test_each_refusal_has_its_reason(rig: Rig, rigs: dict[str, Rig], reason: Reason) -> None:
    where, ask = CASES[reason]
    answer, refusal = ask(rigs[where]), REFUSALS[reason]
    assert (answer.status, answer.headers.get(REASON_HEADER)) == (refusal.status, reason.value), answer
    assert int(answer.headers["retry-after"]) >= refusal.retry_after_s
    assert "x-spillway-own-reply" not in answer.headers
    assert json.loads(answer.body)["error"]


def test_an_answer_has_no_reason(rig: Rig) -> None:
    assert REASON_HEADER not in rig.post(headers=ALPHA_ASKS).headers
    assert REASON_HEADER not in rig.post(b"hello", headers=ALPHA_ASKS).headers
