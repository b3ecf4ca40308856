"""Where answers are kept: Redis, a folder on disk, S3. Each may fail as it likes: who asks takes that for a miss."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from botocore.exceptions import ClientError

from spillway.contracts.answer_cache import AnswerCache, FolderTier, S3Tier
from spillway.runtime.gateway.aws import client

_S3_CONNECTIONS: Final = 8
"""A request waits for one."""


class Tier(Protocol):
    """``name``: in metrics. ``timeout_s``: after which it is taken for broken."""

    name: str
    timeout_s: float

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes) -> None: ...


def tiers_of(cache: AnswerCache) -> list[Tier]:
    """The nearest first."""
    found: list[Tier] = []
    if cache.redis:
        # Most agents have none, and load no library for it.
        from spillway.runtime.cache.redis_tier import Redis

        found.append(Redis(cache.redis, cache.ttl_s))
    if cache.folder:
        found.append(Folder(cache.folder, cache.ttl_s))
    if cache.s3:
        found.append(S3(cache.s3))
    return found


class Folder:
    """Files by key, renamed into place. When there are too many bytes, those that were used least recently go."""

    name = "disk"
    timeout_s = 0.1

    def __init__(self, place: FolderTier, ttl_s: int) -> None:
        self._path, self._most, self._ttl_s = Path(place.path), place.most_bytes, ttl_s
        self._bytes: int | None = None
        # One thread: what it counts is its own, and a disk that hangs keeps no other work waiting.
        self._thread = ThreadPoolExecutor(1, "cache-disk")

    async def get(self, key: str) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, key)

    async def put(self, key: str, value: bytes) -> None:
        if len(value) <= self._most:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, key, value)

    def _file(self, key: str) -> Path:
        return self._path / key[:2] / key

    def _read(self, key: str) -> bytes | None:
        file = self._file(key)
        try:
            # Its time of change is that of the answer, that of access of its last use.
            written = file.stat().st_mtime
            if time.time() - written > self._ttl_s:
                return None
            found = file.read_bytes()
            os.utime(file, (time.time(), written))
        except FileNotFoundError:
            return None
        return found

    def _write(self, key: str, value: bytes) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        if self._bytes is None:
            self._bytes = sum(size for _, size, _ in self._files())
        if self._bytes + len(value) > self._most:
            self._bytes = self._make_room(len(value))
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as fresh:
            fresh.write(value)
        os.replace(fresh.name, file)
        self._bytes += len(value)

    def _make_room(self, wanted: int) -> int:
        """A tenth more than is wanted, so that not every answer looks through all of them. How much is left."""
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, file in files:
            if left + wanted <= self._most * 0.9:
                break
            file.unlink(missing_ok=True)
            left -= size
        return left

    def _files(self) -> list[tuple[float, int, Path]]:
        """Last use, size and place of each."""
        found = []
        for file in self._path.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                found.append((stat.st_atime, stat.st_size, file))
        return found


class S3:
    """Objects below a prefix. Without the right to list, S3 says 403 for one that is not there
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html)."""

    name = "s3"
    timeout_s = 0.4

    def __init__(self, place: S3Tier) -> None:
        self._place = place
        self._threads = ThreadPoolExecutor(_S3_CONNECTIONS, "cache-s3")

    async def get(self, key: str) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, key)

    async def put(self, key: str, value: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._write, key, value)

    def _write(self, key: str, value: bytes) -> None:
        bucket = client("s3", self._place.region)
        bucket.put_object(Bucket=self._place.bucket, Key=self._key(key), Body=value)

    def _read(self, key: str) -> bytes | None:
        bucket = client("s3", self._place.region)
        try:
            return bucket.get_object(Bucket=self._place.bucket, Key=self._key(key))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
                return None
            raise

    def _key(self, key: str) -> str:
        return f"{self._place.prefix}{key}"
