"""A language model's stack on the twin, with the words a user types: a chat spills from a full private site to
SageMaker, then to Azure ML, streaming, and OpenAI's library sees the same from each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from spillway.contracts.classes import CLASS_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER, Site
from tests.end_to_end.site import LocalSite, make_project, standing
from tests.support.packages import small_package
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

S = "spillway:"
MESSAGES: list[Any] = [{"role": "user", "content": "Who has room?"}]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    project = make_project(tmp_path_factory.mktemp("chat"))
    package = small_package(tmp_path_factory.mktemp("package"), kind="vllm")
    path = project / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    config = stack["config"]
    config[f"{S}package"] = {"path": str(package)}
    config[f"{S}burst"]["azure_ml"] |= {"container_image": "acr.azurecr.io/spillway-vllm:0.30.0"}
    path.write_text(yaml.safe_dump(stack))
    with standing(project) as local:
        yield local


def client(local: LocalSite, class_: str = "P0", site: str = "") -> openai.OpenAI:
    headers = {CLASS_HEADER: class_}
    if site:
        headers |= {SITE_HEADER: site, OPERATOR_KEY_HEADER: local.operator_key}
    return openai.OpenAI(
        base_url=f"{local.gateway}/v1", api_key=local.client_key, default_headers=headers, max_retries=0
    )


def ask(asked: openai.OpenAI, tokens: int = 5) -> tuple[str, str]:
    raw = asked.chat.completions.with_raw_response.create(
        model="echo", messages=MESSAGES, max_tokens=tokens, stream=True
    )
    text = "".join(part.choices[0].delta.content or "" for part in raw.parse() if part.choices)
    return raw.headers[SITE_HEADER], text


def test_each_site_streams_the_same_answer(site: LocalSite) -> None:
    answers = [ask(client(site, site=place)) for place in Site]
    assert [found for found, _ in answers] == list(Site)
    assert len({text for _, text in answers}) == 1
    names = {process.name for process in site.twin.status().processes}
    assert {"private/vllm", "sagemaker/vllm", "azure_ml/vllm"} <= names


def test_what_up_prints_is_a_chat(site: LocalSite) -> None:
    """Not a request in the form of tensors, which the gateway refuses for such a package."""
    first = site.up["curl"][0]
    assert f"{site.gateway}/v1/chat/completions" in first
    done = subprocess.run(["bash", "-c", first], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.rstrip().endswith("data: [DONE]")


def test_a_chat_spills_in_order_when_sites_are_full(site: LocalSite) -> None:
    slots = site.route(Site.PRIVATE).slots + site.route(Site.SAGEMAKER).slots
    with ThreadPoolExecutor(slots + 1) as pool:
        answers = list(pool.map(lambda _: ask(client(site, "P1"), tokens=40), range(slots + 1)))
    found = [place for place, _ in answers]
    assert {place: found.count(place) for place in Site} == {
        Site.PRIVATE: site.route(Site.PRIVATE).slots,
        Site.SAGEMAKER: site.route(Site.SAGEMAKER).slots,
        Site.AZURE_ML: 1,
    }


def test_a_drill_of_chats_times_tokens(site: LocalSite, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    phase = {"name": "calm", "duration_s": 4, "min_availability": {"P0": 1.0}}
    plan.write_text(yaml.safe_dump({"name": "chat", "phases": [phase], "rates": {"P0": 3, "P1": 2}}))
    found = site.spillway("drill", "--chat", "--plan", str(plan), "--report", str(tmp_path / "drill.html"))
    chat = found["totals"]["P0"]["chat"]
    assert chat["ttft_p50_ms"] >= 200
    assert chat["tpot_p50_ms"] >= 20
    assert (chat["cut"], chat["tokens_lost"]) == (0, 0)
    command = [sys.executable, "-m", "spillway.cli.main", "drill"]
    refused = subprocess.run(command, cwd=site.project, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "give --chat" in refused.stderr


def test_a_killed_private_site_is_left_and_found_again(site: LocalSite) -> None:
    site.twin.fault("private", "kill")
    try:
        assert ask(client(site))[0] == "sagemaker"
    finally:
        site.twin.fault("private", "start")
    eventually(lambda: ask(client(site))[0] == "private", within_s=30)
