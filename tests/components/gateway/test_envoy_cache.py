"""Answers that are kept, through a real Envoy: what is asked once is not asked again, and no broken part is noticed."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.answer_cache import AnswerCache, FolderTier, S3Tier
from spillway.contracts.classes import CLIENT_KEY_HEADER, Site
from spillway.runtime.gateway.aws import client
from tests.support.cache_rig import CacheRig, free_redis, redis_server
from tests.support.gateway_rig import BETA
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

ANSWER = b'{"model_name":"m","outputs":[{"name":"Y","datatype":"FP32","shape":[1],"data":[0.50]}]}'


def ask(rig: CacheRig, value: object = 1, class_: str = "P1", **more: Any) -> tuple[int, str | None, bytes]:
    body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [value]}], **more.pop("body", {})}
    answer = rig.post(body, class_, **more)
    return answer.status, answer.site, answer.body


def worked(rig: CacheRig) -> int:
    """Requests that any model server got."""
    return sum(len(server.seen) for server in rig.servers.values())


def settled(rig: CacheRig) -> None:
    """Until what is to be kept is."""
    eventually(lambda: not rig.cache._writes, within_s=10, what="answers are written")


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheRig]:
    scratch = tmp_path_factory.mktemp("cache")
    folder = FolderTier(path=str(scratch / "answers"), most_bytes=1 << 20)
    cache = AnswerCache(package_digest="a", ttl_s=60, most_answer_bytes=1000, folder=folder)
    with CacheRig(scratch, cache) as running:
        yield running


@pytest.fixture
def rig(on_disk: CacheRig) -> CacheRig:
    """Nothing is kept, and nothing was asked yet."""
    settled(on_disk)
    shutil.rmtree(on_disk.folder / "answers", ignore_errors=True)
    for server in on_disk.servers.values():
        server.body, server.delay_s, server.status = ANSWER, 0.0, 200
        server.seen.clear()
    on_disk.cache.hits.clear()
    on_disk.cache.misses = on_disk.cache.joined = on_disk.cache.passed = 0
    return on_disk


def test_a_question_is_asked_once(rig: CacheRig) -> None:
    assert ask(rig) == (200, "private", ANSWER)
    settled(rig)
    assert [ask(rig) for _ in range(5)] == [(200, "cache", ANSWER)] * 5
    assert ask(rig, 2) == (200, "private", ANSWER)
    assert worked(rig) == 2
    assert 'spillway_cache_hits_total{tier="disk"} 5' in rig.cache.metrics()
    assert "spillway_cache_misses_total 2" in rig.cache.metrics()


def test_the_id_is_each_requests_own(rig: CacheRig) -> None:
    rig.servers[Site.PRIVATE].body = ANSWER.replace(b"{", b'{"id":"one",', 1)
    assert json.loads(ask(rig, body={"id": "one"})[2])["id"] == "one"
    settled(rig)
    assert ask(rig, body={"id": "two"}) == (200, "cache", ANSWER.replace(b"{", b'{"id":"two",', 1))
    assert ask(rig) == (200, "cache", ANSWER)


def test_a_hundred_at_once_cost_one_inference(rig: CacheRig) -> None:
    """Which is answered once the others wait for it, however slow the machine is."""
    private = rig.servers[Site.PRIVATE]
    private.hang = True
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(rig.at_once, 100, body={"inputs": [{"name": "X"}]}, class_="P2")
        try:
            eventually(lambda: rig.cache.joined == 99, within_s=30, what="ninety-nine wait")
        finally:
            private.hang = False
        answers = asked.result()
    assert {answer.status for answer in answers} == {200}
    assert {answer.body for answer in answers} == {ANSWER}
    assert worked(rig) == 1


def test_classes_do_not_wait_for_each_other(rig: CacheRig) -> None:
    rig.servers[Site.PRIVATE].delay_s = 0.5
    with ThreadPoolExecutor(8) as pool:
        sites = list(pool.map(lambda number: ask(rig, class_=("P0", "P2")[number % 2])[1], range(8)))
    assert set(sites) == {"private"}
    assert worked(rig) == 2


@pytest.mark.parametrize("status", [400, 503])
def test_no_fault_is_kept(rig: CacheRig, status: int) -> None:
    for server in rig.servers.values():
        server.status = status
    assert ask(rig)[0] == status
    for server in rig.servers.values():
        server.status = 200
    assert ask(rig) == (200, "private", ANSWER)


def test_a_large_answer_is_given_and_not_kept(rig: CacheRig) -> None:
    rig.servers[Site.PRIVATE].body = b'{"outputs":[' + b"1," * 600 + b"1]}"
    assert ask(rig)[1] == ask(rig)[1] == "private"


def test_a_client_may_want_a_fresh_answer(rig: CacheRig) -> None:
    headers = {"cache-control": "no-store"}
    assert [ask(rig, headers=headers)[1] for _ in range(2)] == ["private"] * 2
    assert ask(rig)[1] == "private", "it was not kept either"


def test_what_is_no_inference_passes_by(rig: CacheRig) -> None:
    assert rig.post(method="GET", path="/v2/models/m", body=b"").status == 200
    assert rig.cache.metrics()[-3:] == [f"spillway_cache_{name}_total 0" for name in ("misses", "joined", "passed")]


def test_overflow_still_spills(tmp_path: Path) -> None:
    folder = FolderTier(path=str(tmp_path / "answers"), most_bytes=1 << 20)
    cache = AnswerCache(package_digest="a", ttl_s=60, most_answer_bytes=1000, folder=folder)
    with CacheRig(tmp_path, cache, slots=1) as rig:
        for server in rig.servers.values():
            server.delay_s, server.body = 0.6, ANSWER
        with ThreadPoolExecutor(3) as pool:
            found = sorted(str(site) for _, site, _ in pool.map(lambda value: ask(rig, value), range(3)))
        assert found == ["azure_ml", "private", "sagemaker"]


def test_without_the_agent_requests_go_on(rig: CacheRig) -> None:
    """Refused at once; nothing listens where the cache was."""
    rig.wait(rig.end_cache())
    assert [ask(rig) for _ in range(5)] == [(200, "private", ANSWER)] * 5
    rig.wait(rig.serve_cache())
    eventually(lambda: ask(rig)[1] == "cache", within_s=20, what="the cache is back")


def test_an_agent_that_hangs_is_left(rig: CacheRig) -> None:
    """What waits for it goes on past it, within its class's time."""

    open_ones: list[asyncio.StreamWriter] = []
    servers: list[asyncio.Server] = []

    async def listen() -> None:
        await rig.end_cache()
        hang = await asyncio.start_server(
            lambda _, writer: open_ones.append(writer), "127.0.0.1", rig.table.listen.cache_port
        )
        servers.append(hang)

    async def end() -> None:
        servers[0].close()
        for writer in open_ones:
            writer.close()

    rig.wait(listen())
    assert ask(rig) == ask(rig, 2) == (200, "private", ANSWER)
    rig.wait(end())
    rig.wait(rig.serve_cache())
    eventually(lambda: rig.cache_is_well, within_s=20, what="Envoy found the cache well")


def test_a_redis_that_hangs_or_is_gone_is_a_miss(tmp_path: Path) -> None:
    place = free_redis()
    cache = AnswerCache(package_digest="a", ttl_s=60, most_answer_bytes=1000, redis=place)
    with CacheRig(tmp_path, cache) as rig, redis_server(tmp_path, place.port) as redis:
        rig.servers[Site.PRIVATE].body = ANSWER
        assert ask(rig) == (200, "private", ANSWER)
        settled(rig)
        assert ask(rig) == (200, "cache", ANSWER)
        redis.send_signal(signal.SIGSTOP)
        assert ask(rig) == ask(rig) == (200, "private", ANSWER)
        assert rig.cache.failures["redis"] == 1, "it is left alone after the first"
        redis.kill()
        rig.cache._resting.clear()
        assert ask(rig) == (200, "private", ANSWER)


def test_what_must_not_leave_is_not_kept_in_s3(tmp_path: Path, aws: None) -> None:
    """Beta's requests stay in the house; the bucket is in a region where others' may go."""
    client.cache_clear()
    s3 = client("s3", "eu-west-1")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    tier = S3Tier(bucket="kept", region="eu-west-1", prefix="answers/")
    cache = AnswerCache(package_digest="a", ttl_s=60, most_answer_bytes=1000, s3=tier)
    with CacheRig(tmp_path, cache) as rig:
        rig.cache._tiers[0].timeout_s = 10
        for server in rig.servers.values():
            server.body = ANSWER
        house = {CLIENT_KEY_HEADER: BETA}
        assert [ask(rig, headers=house)[1] for _ in range(2)] == ["private"] * 2
        settled(rig)
        assert s3.list_objects_v2(Bucket="kept")["KeyCount"] == 0
        assert ask(rig)[1] == "private"
        settled(rig)
        assert ask(rig) == (200, "cache", ANSWER)
        (kept,) = s3.list_objects_v2(Bucket="kept")["Contents"]
        assert kept["Key"].startswith("answers/")
        assert ask(rig, headers=house)[1] == "private"
    client.cache_clear()
