"""A release on trial: its share of the requests, and its end where it is worse than the one that serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import Anonymous, Canary, RoutingTable
from spillway.runtime.gateway.canary import CanaryWatch, Counts, verdict
from tests.support.gateway_rig import Answer, ModelServer, Rig
from tests.support.waiting import eventually

RULES = Canary(host="127.0.0.2", version="v2", percent=20, slots=32, max_error_percent=5, max_slowdown=1.5, requests=50)
EIGHT_MINUTES = 480
OTHERS = Counts(requests=500, failures=5, timed=500, timed_ms=50_000)


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        (Counts(50, 3, 50, 5_000), None),
        (Counts(50, 4, 50, 5_000), "4 of 50"),
        # Four of five is as bad as four of fifty: the rest of the block cannot mend it.
        (Counts(5, 4, 5, 500), "4 of 5"),
        (Counts(5, 3, 5, 500), None),
        (Counts(50, 0, 50, 7_500), None),
        (Counts(50, 0, 50, 7_550), "took 151 ms, the others' 100 ms"),
        (Counts(49, 0, 49, 49_000), None),
    ],
)
def test_a_release_is_compared_with_what_serves(canary: Counts, said: str | None) -> None:
    """One of a hundred of the others' requests fails, and one takes 100 ms: 6 % of 50 are 3."""
    found = verdict(canary, OTHERS, RULES)
    assert (found is None) if said is None else (found is not None and said in found)


def test_where_everything_fails_it_is_not_the_release() -> None:
    assert verdict(Counts(50, 50), Counts(500, 500), RULES) is None


def on_trial(table: RoutingTable) -> RoutingTable:
    changes = {Site.PRIVATE: {"canary": RULES}}
    sites = tuple(one.model_copy(update={"slots": 32, **changes.get(Site(one.site), {})}) for one in table.sites)
    return table.model_copy(update={"sites": sites, "anonymous": Anonymous(max_class=RequestClass.P0)})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, on_trial)
    for place, limit in ((Site.SAGEMAKER, "max_concurrent"), (Site.AZURE_ML, "max_concurrent_per_instance")):
        made.front_settings[place] = made.front_settings[place].model_copy(update={limit: 64})
    with made as running:
        yield running


@contextmanager
def release(rig: Rig) -> Iterator[ModelServer]:
    """The server that tries it, at the private site's own port."""
    server = ModelServer(port=rig.servers[Site.PRIVATE].port, host=RULES.host)
    rig.wait(server.start())
    try:
        yield server
    finally:
        rig.wait(server.stop())


@contextmanager
def watched(rig: Rig) -> Iterator[CanaryWatch]:
    """Judged as the agent does, only more often."""
    ready: Future[CanaryWatch] = Future()

    async def work() -> None:
        async with aiohttp.ClientSession() as session:
            watch = CanaryWatch(rig.table, rig.table.site(Site.PRIVATE), RULES, session)
            ready.set_result(watch)
            while True:
                await watch.check()
                await asyncio.sleep(0.2)

    task = asyncio.run_coroutine_threadsafe(work(), rig.loop)
    try:
        yield ready.result(10)
    finally:
        task.cancel()


def until_ended(rig: Rig, watch: CanaryWatch) -> tuple[list[Answer], float]:
    """P0 requests until the release gets none any more, and how long that took."""
    started, answers = time.monotonic(), list[Answer]()
    while watch.ended is None:
        assert time.monotonic() - started < EIGHT_MINUTES
        answers += rig.at_once(8, class_="P0")
    return answers, time.monotonic() - started


@pytest.mark.heavy
def test_a_good_release_gets_its_share_and_goes_on(rig: Rig) -> None:
    with release(rig) as server, watched(rig) as watch:
        eventually(lambda: watch.percent == RULES.percent, 10, "the release gets its share")
        answers = [answer for _ in range(50) for answer in rig.at_once(8)]
        # 400 requests of 20 % each: three standard deviations are 24.
        assert {(answer.status, answer.site) for answer in answers} == {(200, "private")}
        assert 56 <= len(server.seen) <= 104
        assert watch.ended is None


@pytest.mark.heavy
def test_a_release_that_fails_is_rolled_back_and_no_p0_is_lost(rig: Rig) -> None:
    with release(rig) as server, watched(rig) as watch:
        server.status = 500
        answers, took = until_ended(rig, watch)
        assert {answer.status for answer in answers} == {200}
        assert "requests failed" in str(watch.ended)
        assert took < EIGHT_MINUTES

        eventually(lambda: watch.percent == 0, 10, "the release gets nothing")
        seen = len(server.seen)
        server.status = 200
        assert rig.sites_of([answer for _ in range(10) for answer in rig.at_once(8)]) == {"private": 80}
        # Well or not, it does not come back.
        assert len(server.seen) == seen


@pytest.mark.heavy
def test_a_release_that_is_slow_is_rolled_back_and_no_p0_is_lost(rig: Rig) -> None:
    with release(rig) as server, watched(rig) as watch:
        rig.servers[Site.PRIVATE].delay_s, server.delay_s = 0.05, 0.15
        answers, took = until_ended(rig, watch)
        assert {answer.status for answer in answers} == {200}
        assert "took" in str(watch.ended)
        assert took < EIGHT_MINUTES


@pytest.mark.heavy
def test_a_release_that_never_starts_or_dies_gets_nothing(rig: Rig) -> None:
    with watched(rig) as watch:
        assert rig.sites_of([answer for _ in range(5) for answer in rig.at_once(8)]) == {"private": 40}
        with release(rig):
            eventually(lambda: watch.percent == RULES.percent, 10, "the release gets its share")
        eventually(lambda: watch.percent == 0, 10, "the release gets nothing")
        assert rig.sites_of([answer for _ in range(5) for answer in rig.at_once(8)]) == {"private": 40}
