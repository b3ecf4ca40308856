"""What OpenAI's library sees through a real Envoy, from each site: one table of routes, sites and streaming, then
spilling before an answer begins, and what happens to a request that takes its server down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from spillway.contracts.classes import Site, SiteName
from spillway.contracts.routing import RoutingTable
from spillway.contracts.server_routes import openai_paths
from spillway.runtime.gateway.aws_token import write_tokens
from spillway.runtime.gateway.health import SiteProbe
from tests.support.chat_rig import CHAT, POISON, ChatRig
from tests.support.gateway_rig import ALPHA, BETA, MODEL
from tests.support.waiting import eventually

MESSAGES: list[Any] = [{"role": "user", "content": "Where does the next request go?"}]
TOKENS = 6


def quick(table: RoutingTable) -> RoutingTable:
    """First tokens are due soon, the order of the classes stays; the servers' own queues are what is full."""
    limits = {"P0": 0.4, "P1": 0.8, "P2": 1.6}
    classes = tuple(c.model_copy(update={"first_token_s": limits[c.request_class]}) for c in table.classes)
    sites = tuple(site.model_copy(update={"slots": 16}) for site in table.sites)
    return table.model_copy(update={"classes": classes, "sites": sites})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatRig]:
    with ChatRig(tmp_path_factory.mktemp("chat"), quick) as rig:
        yield rig


@pytest.fixture
def rig(running: ChatRig) -> Iterator[ChatRig]:
    yield running
    for site in Site:
        backend = running.backend(site)
        backend.seen.clear()
        backend.hang, backend.status = False, 200
        backend.set(first_token_s=0.01, token_s=0.002, max_num_seqs=2, max_num_queued_reqs=None, render_s=0.0)


def chat(client: openai.OpenAI, stream: bool, **more: Any) -> tuple[str, str, Any]:
    """The site, the text, and the usage."""
    asked = client.chat.completions.with_raw_response
    if not stream:
        raw = asked.create(model=MODEL, messages=MESSAGES, max_tokens=TOKENS, **more)
        answer = raw.parse()
        return raw.headers["x-spillway-site"], answer.choices[0].message.content or "", answer.usage
    raw = asked.create(
        model=MODEL, messages=MESSAGES, max_tokens=TOKENS, stream=True, stream_options={"include_usage": True}, **more
    )
    parts = list(raw.parse())
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    return raw.headers["x-spillway-site"], text, parts[-1].usage


def complete(client: openai.OpenAI, stream: bool) -> tuple[str, str]:
    asked = client.completions.with_raw_response
    if not stream:
        raw = asked.create(model=MODEL, prompt="Where?", max_tokens=TOKENS)
        return raw.headers["x-spillway-site"], raw.parse().choices[0].text
    raw = asked.create(model=MODEL, prompt="Where?", max_tokens=TOKENS, stream=True)
    return raw.headers["x-spillway-site"], "".join(part.choices[0].text for part in raw.parse())


def generated(rig: ChatRig) -> int:
    return sum(rig.backend(site).chat.queue.counts.generation_tokens for site in Site)


def sites_asked(rig: ChatRig) -> list[str]:
    return [site.value for site in Site for _ in rig.backend(site).seen]


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_chat_is_the_same_from_each_site(rig: ChatRig, site: Site, stream: bool) -> None:
    found, text, usage = chat(rig.client("P0", site=site), stream)
    assert (found, text) == (site, chat(rig.client("P0"), stream=False)[1])
    assert (usage.completion_tokens, usage.total_tokens) == (TOKENS, usage.prompt_tokens + TOKENS)


SERVED: dict[str, tuple[Site, ...]] = {
    CHAT: tuple(Site),
    "/v1/completions": (Site.PRIVATE, Site.AZURE_ML),
    "/v1/responses": (Site.PRIVATE, Site.AZURE_ML),
    "/v1/embeddings": (Site.PRIVATE, Site.AZURE_ML),
}
"""By route: SageMaker routes chat completions and nothing else of OpenAI's."""


def test_the_table_has_every_route_of_inference() -> None:
    assert set(SERVED) == set(openai_paths())


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", SERVED)
def test_a_route_reaches_the_server_or_says_that_the_site_has_none(
    rig: ChatRig, path: str, site: Site, stream: bool
) -> None:
    """The class is the engine's priority at every site, whatever a client wrote."""
    headers = {"x-spillway-key": ALPHA, "x-spillway-operator-key": "open-sesame", "x-spillway-site": site}
    body = {"model": MODEL, "messages": MESSAGES, "prompt": "p", "input": "p", "priority": -9, "stream": stream}
    answer = rig.post(body, class_="P0", headers={**headers, "x-vllm-priority": "-9"}, path=path)
    seen = rig.backend(site).seen
    if site in SERVED[path]:
        assert [request.path for request in seen] == [path]
        assert json.loads(seen[0].body)["priority"] == 0
        assert seen[0].headers.get("x-vllm-priority") == ("0" if site == Site.PRIVATE else None)
    else:
        error = json.loads(answer.body)["error"]
        assert (answer.status, seen, error["code"]) == (503, [], 503)
        assert "does not serve that path" in error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_completions_spill_past_a_site_that_has_none(rig: ChatRig, stream: bool) -> None:
    rig.backend(Site.PRIVATE).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.05)
    with ThreadPoolExecutor(2) as pool:
        found = {complete_site for complete_site, _ in pool.map(lambda _: complete(rig.client(), stream), range(2))}
    assert found == {"private", "azure_ml"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_full_queue_spills_in_order_before_anything_begins(rig: ChatRig, stream: bool) -> None:
    for site in (Site.PRIVATE, Site.SAGEMAKER):
        rig.backend(site).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.1)
    before = generated(rig)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: chat(rig.client(), stream), range(3)))
    assert sorted(site for site, _, _ in answers) == ["azure_ml", "private", "sagemaker"]
    assert len({text for _, text, _ in answers}) == 1
    assert generated(rig) - before == 3 * TOKENS


def test_a_stream_that_begins_with_a_refusal_spills_like_any_other(rig: ChatRig) -> None:
    """Of many at once vLLM finds some too many only when their headers are out."""
    for site in (Site.PRIVATE, Site.SAGEMAKER):
        rig.backend(site).set(max_num_queued_reqs=2, max_num_seqs=2, token_s=0.05, render_s=0.3)
    rig.backend(Site.AZURE_ML).set(max_num_seqs=16)
    before = {site: rig.backend(site).chat.queue.counts.late for site in Site}
    client = rig.client("P2")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: chat(client, stream=True), range(8)))
    assert {site for site, _, _ in answers} == set(Site)
    assert {(text, usage.completion_tokens) for _, text, usage in answers} == {(answers[0][1], TOKENS)}
    assert rig.backend(Site.PRIVATE).chat.queue.counts.late > before[Site.PRIVATE]


def test_a_refusal_at_the_beginning_of_the_last_stream_is_a_refusal(rig: ChatRig) -> None:
    for site in Site:
        rig.backend(site).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.1, render_s=0.3)

    client = rig.client("P2")

    def one(_: int) -> str:
        try:
            return chat(client, stream=True)[0]
        except openai.InternalServerError as error:
            return f"{error.status_code} {error.code}"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert {answer for answer in answers if answer not in list(Site)} == {"503 503"}


def test_a_stream_without_a_first_token_is_asked_for_elsewhere(rig: ChatRig) -> None:
    rig.backend(Site.PRIVATE).set(first_token_s=5.0)
    started = time.monotonic()
    site, text, _ = chat(rig.client("P0"), stream=True)
    assert (site, bool(text)) == ("sagemaker", True)
    assert 0.35 < time.monotonic() - started < 2
    assert rig.passes_checks(Site.PRIVATE)


def test_each_class_has_its_own_patience(rig: ChatRig) -> None:
    rig.backend(Site.PRIVATE).set(first_token_s=0.55)
    assert chat(rig.client("P0"), stream=True)[0] == "sagemaker"
    assert chat(rig.client("P1"), stream=True)[0] == "private"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_length_of_an_answer_is_nobodys_fault(rig: ChatRig, stream: bool) -> None:
    """Longer than every limit of a class; with the slots of the class in use the server stays in."""
    rig.backend(Site.PRIVATE).set(token_s=0.2, max_num_seqs=8)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: chat(rig.client("P0"), stream), range(2)))
    assert [site for site, _, _ in answers] == ["private", "private"]
    assert sites_asked(rig) == ["private", "private"]
    assert chat(rig.client("P0"), stream)[0] == "private"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("class_", ["P0", "P1"])
def test_a_request_that_kills_its_server_is_tried_once_more(rig: ChatRig, class_: str, stream: bool) -> None:
    poison: list[Any] = [{"role": "user", "content": POISON}]
    with pytest.raises(openai.InternalServerError) as caught:
        rig.client(class_).chat.completions.create(model=MODEL, messages=poison, stream=stream)
    assert len(sites_asked(rig)) == 2
    assert sites_asked(rig)[0] == "private"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == caught.value.status_code


def test_an_engine_that_fails_over_a_request_is_asked_once_and_not_put_out(rig: ChatRig) -> None:
    rig.backend(Site.PRIVATE).status = 500
    for _ in range(6):
        assert chat(rig.client("P0"), stream=True)[0] == "azure_ml"
    assert len(rig.backend(Site.PRIVATE).seen) == 6
    rig.backend(Site.PRIVATE).status = 200
    assert chat(rig.client("P0"), stream=True)[0] == "private"


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_the_client_got_wrong_is_told_once_and_counts_against_nobody(
    rig: ChatRig, site: Site, stream: bool
) -> None:
    client = rig.client("P0", site=site)
    for _ in range(6):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=-1, stream=stream)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "BadRequestError"
    assert caught.value.param == "max_tokens"
    assert sites_asked(rig) == [site] * 6
    assert chat(client, stream)[0] == site


def full(rig: ChatRig) -> None:
    for site in Site:
        rig.backend(site).status = 503


ERRORS: dict[str, tuple[dict[str, Any], type[openai.APIStatusError], str]] = {
    "no key": ({"key": "nobody"}, openai.AuthenticationError, "no known key"),
    "no such class": ({"class_": "P9"}, openai.BadRequestError, "P0, P1 or P2"),
    "no such site": ({"site": "mars"}, openai.BadRequestError, "no such site"),
    "nobody has room": ({}, openai.InternalServerError, ""),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_openais_form(rig: ChatRig, name: str) -> None:
    given, kind, words = ERRORS[name]
    full(rig)
    with pytest.raises(kind) as caught:
        chat(rig.client(**given), stream=True)
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["code"] == caught.value.status_code
    assert words in body["message"]
    assert (caught.value.response.headers.get("retry-after") is not None) == (caught.value.status_code == 503)


def test_a_client_obeys_retry_after(rig: ChatRig) -> None:
    for site in Site:
        rig.backend(site).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.1)
    patient = rig.client().with_options(max_retries=3)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: chat(patient, stream=True)[0], range(4)))
    assert set(answers) == {"private", "sagemaker", "azure_ml"}


def test_data_that_must_not_leave_waits_for_nobody(rig: ChatRig) -> None:
    rig.backend(Site.PRIVATE).status = 503
    with pytest.raises(openai.InternalServerError) as caught:
        chat(rig.client(key=BETA), stream=True)
    assert caught.value.status_code == 503
    assert set(sites_asked(rig)) == {"private"}


@pytest.mark.parametrize("site", [Site.SAGEMAKER, Site.AZURE_ML])
@pytest.mark.parametrize(("status", "good"), [(200, True), (503, True), (500, False)])
def test_a_site_whose_queue_is_full_is_not_taken_for_dead(rig: ChatRig, site: Site, status: int, good: bool) -> None:
    """503 of the engine itself, which the clouds give inside a 424."""
    rig.backend(site).status = status

    async def probed() -> bool:
        assert rig.table.probe
        async with aiohttp.ClientSession() as session:
            return (await SiteProbe(rig.table.site(site), rig.table.probe, session).ask(5.0)).good

    assert asyncio.run(probed()) is good


def test_the_token_in_use_is_the_one_in_the_file(tmp_path: Path) -> None:
    """Envoy reads a renewed token without a restart."""
    site: SiteName = Site.SAGEMAKER
    with ChatRig(tmp_path) as rig:
        (tmp_path / "aws").write_text("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = wrong\n")
        write_tokens(rig.table)
        client = rig.client("P0", site=site)

        def refused() -> bool:
            try:
                return chat(client, stream=True)[0] != site
            except openai.InternalServerError as error:
                return "does not take the request" in str(error)

        eventually(refused)
        right = "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret-key\n"
        (tmp_path / "aws").write_text(right)
        write_tokens(rig.table)
        eventually(lambda: not refused())
