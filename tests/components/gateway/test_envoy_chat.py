"""What OpenAI's library sees through a real Envoy, from each site: one table of routes, sites and streaming, then
spilling before an answer begins, and what happens to a request that takes its server down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import openai
import pytest
import urllib3

from spillway.contracts.classes import Site, SiteName
from spillway.contracts.routing import RoutingTable
from spillway.contracts.server_routes import openai_paths
from spillway.runtime.gateway.capacity import Breakers
from spillway.runtime.gateway.health import SiteProbe
from spillway.runtime.gateway.kv_room import KvRoom
from spillway.runtime.gateway.queue_room import QueueRoom
from spillway.runtime.gateway.tokens import write_token
from spillway.twin.data_plane.processes.chat_queue import QueueOptions
from tests.support.chat_rig import CHAT, POISON, ChatBackend, ChatRig
from tests.support.gateway_rig import ALPHA, BETA, MODEL, OPERATOR_KEY
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

MESSAGES: list[Any] = [{"role": "user", "content": "Where does the next request go?"}]
TOKENS = 6
LONG: Any = {"model": MODEL, "messages": MESSAGES, "max_tokens": 400, "stream": True}


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
        usual = {"first_token_s": 0.01, "token_s": 0.002, "max_num_seqs": 2, "max_num_queued_reqs": None}
        usual |= {"kv_answers": None}
        backend.set(**usual, render_s=0.0, pooling=False, dies_after=None)


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


def talk(client: openai.OpenAI, stream: bool, **more: Any) -> tuple[str, str]:
    return chat(client, stream, **more)[:2]


def complete(client: openai.OpenAI, stream: bool, **more: Any) -> tuple[str, str]:
    asked = client.completions.with_raw_response
    if not stream:
        raw = asked.create(model=MODEL, prompt="Where?", max_tokens=TOKENS, **more)
        return raw.headers["x-spillway-site"], raw.parse().choices[0].text
    raw = asked.create(model=MODEL, prompt="Where?", max_tokens=TOKENS, stream=True, **more)
    return raw.headers["x-spillway-site"], "".join(part.choices[0].text for part in raw.parse())


def respond(client: openai.OpenAI, stream: bool, **more: Any) -> tuple[str, str]:
    asked = client.responses.with_raw_response
    if not stream:
        raw = asked.create(model=MODEL, input="Where?", max_output_tokens=TOKENS, **more)
        return raw.headers["x-spillway-site"], raw.parse().output_text
    raw = asked.create(model=MODEL, input="Where?", max_output_tokens=TOKENS, stream=True, **more)
    events = list(raw.parse())
    assert events[-1].type == "response.completed"
    return raw.headers["x-spillway-site"], "".join(e.delta for e in events if e.type == "response.output_text.delta")


def embed(client: openai.OpenAI, stream: bool, **more: Any) -> tuple[str, str]:
    assert not stream
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="Where?", encoding_format="float", **more)
    return raw.headers["x-spillway-site"], str(raw.parse().data[0].embedding)


def posting(path: str, body: dict[str, Any]) -> Callable[..., tuple[str, str]]:
    """For a route that the library has no method for."""

    def post(client: openai.OpenAI, stream: bool, **more: Any) -> tuple[str, str]:
        assert not stream
        sent = {"model": MODEL, **body, **more.get("extra_body", {})}
        own = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        headers = {**own, **client.auth_headers, **more.get("extra_headers", {})}
        answer = urllib3.request("POST", f"{client.base_url}{path}", json=sent, headers=headers)
        found = answer.json()
        return answer.headers["x-spillway-site"], str(found.get("results") or found.get("data"))

    return post


class Asked(NamedTuple):
    ask: Callable[..., tuple[str, str]]
    streams: bool


ASKED = {
    CHAT: Asked(talk, streams=True),
    "/v1/completions": Asked(complete, streams=True),
    "/v1/responses": Asked(respond, streams=True),
    "/v1/embeddings": Asked(embed, streams=False),
    "/v1/rerank": Asked(posting("rerank", {"query": "a b", "documents": ["b c", "a b"]}), streams=False),
    "/v1/score": Asked(posting("score", {"text_1": "a b", "text_2": ["b c", "a b"]}), streams=False),
}


STREAMED = [path for path, asked in ASKED.items() if asked.streams]


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


WAYS = [(path, False) for path in ASKED] + [(path, True) for path in STREAMED]


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize(("path", "stream"), WAYS)
def test_every_route_is_answered_alike_by_each_site(rig: ChatRig, path: str, site: Site, stream: bool) -> None:
    """By OpenAI's library where it has the route. The class is the engine's priority at every site, whatever a client
    wrote."""
    asked = ASKED[path]
    for each in Site:
        rig.backend(each).set(pooling=not asked.streams)
    more = {"extra_body": {"priority": -9}, "extra_headers": {"x-vllm-priority": "-9"}}
    found, said = asked.ask(rig.client("P0", site=site), stream, **more)
    assert (found, said) == (site, asked.ask(rig.client("P0", site=Site.PRIVATE), False)[1])
    assert said
    seen = rig.backend(site).seen[0]
    assert json.loads(seen.body)["priority"] == 0
    assert seen.headers.get("x-vllm-priority") == ("0" if site == Site.PRIVATE else None)


def test_the_table_has_every_route_of_inference() -> None:
    assert set(ASKED) == set(openai_paths())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses"])
def test_what_is_no_chat_spills_as_a_chat_does(rig: ChatRig, path: str, stream: bool) -> None:
    for site in (Site.PRIVATE, Site.SAGEMAKER):
        rig.backend(site).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.1)
    asked: list[Future[Any]] = []
    with ThreadPoolExecutor(3) as pool:
        # One after another, so that who comes second finds the first at work: of two at once one is refused late.
        for site in Site:
            asked.append(pool.submit(ASKED[path].ask, rig.client(), stream))
            eventually(lambda site=site: bool(rig.backend(site).seen), what=f"{site} is asked")
        answers = [one.result() for one in asked]
    assert sorted(site for site, _ in answers) == ["azure_ml", "private", "sagemaker"]
    assert len({said for _, said in answers}) == 1


def test_a_framed_stream_that_begins_with_a_refusal_spills_too(rig: ChatRig) -> None:
    rig.backend(Site.PRIVATE).status = 503
    rig.backend(Site.SAGEMAKER).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.05, render_s=0.3)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(rig.client("P2"), stream=True), range(4)))
    assert {site for site, _ in answers} == {"sagemaker", "azure_ml"}
    assert rig.backend(Site.SAGEMAKER).chat.queue.counts.late
    assert len({said for _, said in answers}) == 1


def test_a_framed_stream_that_breaks_is_told(rig: ChatRig) -> None:
    """SageMaker says so in a frame of its own, and OpenAI's library raises it."""
    rig.backend(Site.SAGEMAKER).set(token_s=0.05, dies_after=3)
    client = rig.client("P0", site=Site.SAGEMAKER)
    got: list[Any] = []
    with pytest.raises(openai.APIError, match="broke at the site"):
        got.extend(client.completions.create(model=MODEL, prompt="Where?", max_tokens=20, stream=True))
    assert len(got) == 3


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


def test_a_full_kv_cache_spills_while_slots_are_free(rig: ChatRig) -> None:
    """Three long answers fill three quarters of the caches; one more of them would be above nine tenths. P0 is let
    through where no other site takes it."""
    rig.backend(Site.PRIVATE).set(max_num_seqs=16, kv_answers=4, token_s=0.05)
    private = rig.table.site(Site.PRIVATE)

    async def fit() -> None:
        async with aiohttp.ClientSession() as session:
            caches = KvRoom(private, rig.table.kv_cache_share, session, QueueRoom(2.0))
            await caches.check()
            await Breakers(rig.table, session).fit(private, private.instances, most=caches.slots)

    long = [rig.client("P1").chat.completions.create(**LONG) for _ in range(3)]
    assert [next(iter(one)).model for one in long] == [MODEL] * 3
    rig.wait(fit())
    try:
        assert talk(rig.client("P1"), stream=True)[0] == "sagemaker"
        for site in (Site.SAGEMAKER, Site.AZURE_ML):
            rig.backend(site).status = 503
        assert talk(rig.client("P0"), stream=True)[0] == "private"
        with pytest.raises(openai.InternalServerError):
            talk(rig.client("P1"), stream=True)
    finally:
        for one in long:
            one.close()
        eventually(lambda: rig.backend(Site.PRIVATE).chat.queue.running == 0, what="nothing runs")
        rig.wait(fit())
    assert talk(rig.client("P1"), stream=True)[0] == "private"


def test_p0_that_would_wait_too_long_is_refused_at_once(rig: ChatRig) -> None:
    """With nowhere to spill. One answer is made, one P0 waits, and none has ended of late: the next would wait for
    nothing, and take the place of the first when its time is up."""
    rig.backend(Site.PRIVATE).set(max_num_seqs=1, token_s=0.05)
    private = rig.table.site(Site.PRIVATE)
    queue = rig.backend(Site.PRIVATE).chat.queue

    async def fit(room: QueueRoom) -> None:
        async with aiohttp.ClientSession() as session:
            caches = KvRoom(private, rig.table.kv_cache_share, session, room)
            await caches.check()
            await caches.check()
            await Breakers(rig.table, session).fit(private, private.instances, caches.slots, at_once=room.most)

    for site in (Site.SAGEMAKER, Site.AZURE_ML):
        rig.backend(site).status = 503
    long = rig.client("P1").chat.completions.create(**LONG)
    assert next(iter(long)).model == MODEL
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(talk, rig.client("P0"), False)
        eventually(lambda: queue.waiting == 1, what="P0 waits")
        rig.wait(fit(QueueRoom(2.0)))
        with pytest.raises(openai.InternalServerError):
            talk(rig.client("P0"), stream=True)
        long.close()
        assert waits.result(20)[0] == "private"
    rig.wait(fit(QueueRoom(2.0)))
    assert talk(rig.client("P0"), stream=True)[0] == "private"


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_that_begins_with_a_refusal_spills_like_any_other(rig: ChatRig, path: str) -> None:
    """Of many at once vLLM finds some too many only when their headers are out. Of a response it has said by then that
    it was created, and what ends the stream could be the server's death: that is tried once more, from the far end."""
    for site in (Site.PRIVATE, Site.SAGEMAKER):
        rig.backend(site).set(max_num_queued_reqs=1, max_num_seqs=1, token_s=0.05, render_s=0.5)
    rig.backend(Site.AZURE_ML).set(max_num_seqs=16)
    before = {site: rig.backend(site).chat.queue.counts.late for site in Site}
    client = rig.client("P2")
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: ASKED[path].ask(client, stream=True), range(3)))
    assert {site for site, _ in answers} == {*Site} - ({Site.SAGEMAKER} if path == "/v1/responses" else set[Site]())
    assert {text for _, text in answers} == {ASKED[path].ask(client, stream=False)[1]}
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


@pytest.mark.parametrize("size", [100_000, 200_000], ids=["held", "not held"])
def test_a_long_beginning_of_a_response_comes_whole(rig: ChatRig, size: int) -> None:
    """Its first two events say what was asked, instructions and all. Above 256 KiB they do not wait for a token."""
    words = "a" * size
    client = rig.client("P0", site=Site.PRIVATE)
    asked: Any = {"model": MODEL, "input": "Where?", "instructions": words, "max_output_tokens": TOKENS}
    events: list[Any] = list(client.responses.create(**asked, stream=True))
    assert [events[0].response.instructions, events[-1].response.instructions] == [words, words]
    assert events[-1].response.usage.output_tokens == TOKENS


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_without_a_first_token_is_asked_for_elsewhere(rig: ChatRig, path: str) -> None:
    rig.backend(Site.PRIVATE).set(first_token_s=5.0)
    started = time.monotonic()
    site, text = ASKED[path].ask(rig.client("P0"), stream=True)
    assert (site, bool(text)) == ("sagemaker", True)
    assert 0.35 < time.monotonic() - started < 2
    assert rig.passes_checks(Site.PRIVATE)


@pytest.mark.parametrize("path", STREAMED)
def test_a_long_prompt_has_the_time_to_be_read(rig: ChatRig, path: str) -> None:
    """Given up at each site, it would be read at all of them and answered by none."""
    for site in Site:
        rig.backend(site).set(first_token_s=1.0)
    # Some 25,000 tokens, for which a server that reads 2,000 in a second needs 12 s.
    site, text = ASKED[path].ask(rig.client("P0"), stream=True, extra_body={"metadata": {"long": "word " * 20_000}})
    assert (site, bool(text), sites_asked(rig)) == ("private", True, ["private"])


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


def test_an_answer_that_sagemaker_cuts_short_is_not_begun_again(tmp_path: Path) -> None:
    """It gives a container 60 seconds for an answer in one piece. OpenAI's library, which asks again after 5xx, does
    not."""
    rig = ChatRig(tmp_path, quick)
    front = rig.front_settings[Site.SAGEMAKER]
    rig.front_settings = {**rig.front_settings, Site.SAGEMAKER: front.model_copy(update={"timeout_s": 0.4})}
    with rig:
        rig.backend(Site.PRIVATE).status = 503
        rig.backend(Site.SAGEMAKER).set(token_s=0.5)
        with pytest.raises(openai.InternalServerError, match="ask for it as a stream") as caught:
            rig.client("P0").with_options(max_retries=2).chat.completions.create(model=MODEL, messages=MESSAGES)
        assert caught.value.status_code == 504
        assert sites_asked(rig) == ["private", "sagemaker"]


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


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_that_kills_its_server_before_a_token_is_tried_once_more(rig: ChatRig, path: str) -> None:
    """Its headers were out."""
    for site in Site:
        rig.backend(site).set(dies_after=0)
    with pytest.raises(openai.APIError):
        ASKED[path].ask(rig.client("P1"), stream=True)
    assert len(sites_asked(rig)) == 2


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


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize(("path", "stream"), WAYS)
def test_every_route_tells_errors_alike_at_each_site(rig: ChatRig, path: str, stream: bool, site: Site) -> None:
    """The table of docs/explanation/overflow.md, "Which answers spill": what a client is told of what the site's server
    said, once, in OpenAI's form, with ``Retry-After`` where it may come again."""
    in_a_cloud = {} if site == Site.PRIVATE else {429: 503, 500: 502}
    headers = {"x-spillway-key": ALPHA, "x-spillway-operator-key": OPERATOR_KEY, "x-spillway-site": site.value}
    for said in (400, 404, 422, 429, 500, 503):
        rig.backend(site).status = said
        answer = rig.post({"model": MODEL, "stream": stream}, "P0", headers, path)
        told = in_a_cloud.get(said, said)
        assert (answer.status, sites_asked(rig)) == (told, [site])
        assert answer.headers.get("retry-after") == ("1" if told in (429, 503) else None)
        error = json.loads(answer.body)["error"]
        assert (sorted(error), error["code"]) == (["code", "message", "param", "type"], told)
        rig.backend(site).seen.clear()


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
            probe = SiteProbe(rig.table.site(site), rig.table.probe, session, rig.table.token_path(site))
            return (await probe.ask(5.0)).good

    assert asyncio.run(probed()) is good


def test_the_token_in_use_is_the_one_in_the_file(tmp_path: Path) -> None:
    """Envoy reads a renewed token without a restart."""
    site: SiteName = Site.SAGEMAKER
    with ChatRig(tmp_path) as rig:
        (tmp_path / "aws").write_text("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = wrong\n")
        write_token(rig.table, rig.table.site(Site.SAGEMAKER))
        client = rig.client("P0", site=site)

        def refused() -> bool:
            try:
                return chat(client, stream=True)[0] != site
            except openai.InternalServerError as error:
                return "does not take the request" in str(error)

        eventually(refused)
        right = "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret-key\n"
        (tmp_path / "aws").write_text(right)
        write_token(rig.table, rig.table.site(Site.SAGEMAKER))
        eventually(lambda: not refused())


class TwoServers(ChatRig):
    """The private site has a second server, and chats that begin alike go to the same one."""

    private_servers = 2

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lambda table: quick(table).model_copy(update={"prefix_affinity_percent": 110}))
        self.second = ChatBackend(options=QueueOptions(first_token_s=0.01, token_s=0.002))

    async def _start_servers(self) -> None:
        await super()._start_servers()
        await self.second.start()

    async def _stop_servers(self) -> None:
        await super()._stop_servers()
        await self.second.stop()

    def config(self) -> dict[str, Any]:
        made = super().config()
        (private,) = (one for one in made["static_resources"]["clusters"] if one["name"] == "private-open")
        (endpoints,) = private["load_assignment"]["endpoints"]
        other = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.second.port}}}}
        endpoints["lb_endpoints"].append(other)
        return made

    def shares(self) -> tuple[int, int]:
        """Requests that each of the two has got since the last time."""
        counts = []
        for server in (self.servers[Site.PRIVATE], self.second):
            counts.append(len(server.seen))
            server.seen.clear()
        return counts[0], counts[1]


def test_what_begins_alike_goes_to_one_server_while_it_is_not_much_busier(tmp_path: Path) -> None:
    with TwoServers(tmp_path) as rig:
        client = rig.client("P1")

        def turn(chat: int, turns: int) -> list[Any]:
            spoken: list[Any] = [{"role": "system", "content": "Be brief."}]
            for each in range(turns):
                spoken += [{"role": "user", "content": f"{chat} asks {each}"}, {"role": "assistant", "content": "So."}]
            return [*spoken, {"role": "user", "content": f"{chat} asks {turns}"}]

        for chat_ in range(8):
            for turns in range(4):
                client.chat.completions.create(model=MODEL, messages=turn(chat_, turns), max_tokens=1)
            assert sorted(rig.shares()) == [0, 4]
        for chat_ in range(16):
            client.chat.completions.create(
                model=MODEL, messages=turn(chat_, 0), max_tokens=1, extra_body={"prompt_cache_key": "all of us"}
            )
        assert sorted(rig.shares()) == [0, 16]
        for _ in range(16):
            client.completions.create(model=MODEL, prompt="The same beginning.", max_tokens=1)
        assert sorted(rig.shares()) == [0, 16]

        for server in (rig.servers[Site.PRIVATE], rig.second):
            assert isinstance(server, ChatBackend)
            server.set(max_num_seqs=32, token_s=0.2)
        long = [client.chat.completions.create(**LONG) for _ in range(16)]
        shares = rig.shares()
        assert sum(shares) == 16
        assert max(shares) <= 10, "the next server is taken once this one is above 110 % of the mean"
        for one in long:
            one.close()
