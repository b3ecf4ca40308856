"""Each tier by itself: what it keeps, for how long and how much of it, and how it fails."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hiredis import ReplyError

from spillway.contracts.answer_cache import FolderTier, RedisTier
from spillway.runtime.cache.redis_tier import CONNECTIONS, Redis
from spillway.runtime.cache.tiers import Folder
from tests.support.cache_rig import free_redis, redis_server


def key(number: int) -> str:
    return f"{number:02x}" * 32


def kept(tier: Folder, numbers: range) -> list[int]:
    async def found() -> list[int]:
        return [number for number in numbers if await tier.get(key(number)) is not None]

    return asyncio.run(found())


def test_a_disk_keeps_what_was_used_last(tmp_path: Path) -> None:
    tier = Folder(FolderTier(path=str(tmp_path), most_bytes=1000), ttl_s=60)

    async def fill() -> None:
        for number in range(10):
            await tier.put(key(number), b"x" * 100)
            # Its use is told by the clock of the disk, which may stand still between two writes.
            os.utime(tmp_path / key(number)[:2] / key(number), (time.time() - 100 + number, time.time()))
        assert await tier.get(key(0)) == b"x" * 100
        await tier.put(key(10), b"x" * 100)
        await tier.put(key(11), b"x" * 2000)

    asyncio.run(fill())
    assert kept(tier, range(12)) == [0, *range(3, 11)]
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= 1000
    # One that begins anew counts what is there.
    again = Folder(FolderTier(path=str(tmp_path), most_bytes=500), ttl_s=60)
    asyncio.run(again.put(key(20), b"x" * 100))
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= 500


def test_an_old_answer_is_none(tmp_path: Path) -> None:
    tier = Folder(FolderTier(path=str(tmp_path), most_bytes=1000), ttl_s=60)
    asyncio.run(tier.put(key(1), b"x"))
    assert kept(tier, range(3)) == [1]
    os.utime(tmp_path / key(1)[:2] / key(1), (time.time(), time.time() - 61))
    assert kept(tier, range(3)) == []


def test_a_disk_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tier = Folder(FolderTier(path=str(tmp_path / "file"), most_bytes=1000), ttl_s=60)
    with pytest.raises(OSError, match="Not a directory"):
        asyncio.run(tier.put(key(1), b"x"))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisTier]:
    place = free_redis()
    with redis_server(tmp_path_factory.mktemp("redis"), place.port):
        yield place


@pytest.mark.heavy
def test_redis_keeps_bytes_for_a_while(redis: RedisTier) -> None:
    async def talk() -> None:
        tier = Redis(redis, ttl_s=60)
        assert await tier.get("none") is None
        values = [b"", b"\r\n$-1\r\n", os.urandom(1 << 20)]
        for number, value in enumerate(values):
            await tier.put(key(number), value)
        found = await asyncio.gather(*(tier.get(key(number % 3)) for number in range(5 * CONNECTIONS)))
        assert found == [values[number % 3] for number in range(5 * CONNECTIONS)]

    asyncio.run(talk())


@pytest.mark.heavy
def test_an_answer_that_nobody_waited_for_is_given_to_nobody_else(redis: RedisTier) -> None:
    """A connection whose answer is still to come would give it to the next question."""

    async def talk() -> list[bytes | None]:
        tier = Redis(redis, ttl_s=60)
        for number in range(2):
            await tier.put(key(number), bytes([number]) * (1 << 20))
        for _ in range(3 * CONNECTIONS):
            asked = asyncio.create_task(tier.get(key(0)))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        return [await tier.get(key(1)) for _ in range(CONNECTIONS)]

    assert asyncio.run(talk()) == [b"\1" * (1 << 20)] * CONNECTIONS


@pytest.mark.heavy
def test_a_redis_that_ends_in_the_middle_of_an_answer_is_an_error() -> None:
    async def talk() -> None:
        async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"key\r\n")
            writer.write(b"$1000\r\nbeginning")
            writer.close()

        async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectionError):
                await Redis(RedisTier(host="127.0.0.1", port=port), ttl_s=60).get("key")

    asyncio.run(talk())


@pytest.mark.heavy
def test_what_redis_refuses_is_an_error(redis: RedisTier) -> None:
    with pytest.raises(ReplyError, match="invalid expire"):
        asyncio.run(Redis(redis, ttl_s=0).put("key", b"x"))


@pytest.mark.heavy
def test_a_redis_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match=r"refused|failed"):
        asyncio.run(Redis(free_redis(), ttl_s=60).get("key"))
