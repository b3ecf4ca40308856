"""Fetches what a site was told to serve from the emulated object stores, checks it, and unpacks it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from spillway.contracts.trt_engines import PLAN_NAME
from spillway.twin.data_plane.deployed import Served, aws_client

_CHUNK: Final = 1 << 20


class PackageFetchError(Exception):
    """The archive is not there, or not the one that was deployed. The message names it."""


class PackageFolder:
    """Unpacked archives under ``folder``, by their sha256: two sites that serve the same archive share one."""

    def __init__(self, folder: Path, endpoints: dict[str, str]) -> None:
        self._folder = folder
        self._endpoints = endpoints
        self._seen: dict[tuple[str, str], Path] = {}

    def repository(self, served: Served) -> Path:
        """The Triton repository that ``served`` asks for. Raises :class:`PackageFetchError`."""
        if served.source.startswith("blob://"):
            return self._blobs(served.source)
        version = self._version(served.source)
        known = self._seen.get((served.source, version))
        if known and known.is_dir() and served.sha256 in ("", known.name):
            return known
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self._folder) as scratch:
            archive = Path(scratch) / "package.tar.gz"
            digest = self._download(served.source, archive)
            if served.sha256 and digest != served.sha256:
                raise PackageFetchError(f"{served.source} has sha256 {digest}, deployed is {served.sha256}")
            target = self._folder / digest
            if not target.is_dir():
                _unpack(archive, Path(scratch) / "unpacked", target, served.source)
        if any(target.glob(f"*/*/{PLAN_NAME}")):
            raise PackageFetchError(
                f"{served.source} holds a compiled engine, and the twin's Triton runs none: leave `engine` out of a "
                "stack file for the twin"
            )
        self._seen[served.source, version] = target
        return target

    def _blobs(self, source: str) -> Path:
        """A folder of blobs, named for what is in it."""
        blobs = BlobFolder(source, self._endpoints["azure"])
        names = blobs.names()
        if not names:
            raise PackageFetchError(f"{source}: there is no blob in it")
        sums = {name: blobs.properties(name) for name in names}
        target = self._folder / f"azure-{hashlib.sha256(repr(sums).encode()).hexdigest()}"
        if target.is_dir():
            return _below_triton(target)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self._folder) as scratch:
            fresh = Path(scratch) / "repository"
            for name in names:
                path = fresh / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(blobs.content(name))
            fresh.rename(target)
        return _below_triton(target)

    def _version(self, source: str) -> str:
        """Changes when the object does."""
        bucket, key = _s3(source)
        return self._ask(source, "head_object", bucket, key)["ETag"]

    def _download(self, source: str, path: Path) -> str:
        bucket, key = _s3(source)
        digest = hashlib.sha256()
        body = self._ask(source, "get_object", bucket, key)["Body"]
        with path.open("wb") as target:
            for chunk in body.iter_chunks(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
        return digest.hexdigest()

    def _ask(self, source: str, operation: str, bucket: str, key: str) -> Any:
        from botocore.exceptions import ClientError

        try:
            return getattr(aws_client("s3", self._endpoints["aws"]), operation)(Bucket=bucket, Key=key)
        except ClientError as error:
            raise PackageFetchError(f"{source}: {error.response['Error'].get('Message', error)}") from None


def _below_triton(folder: Path) -> Path:
    """Azure ML keeps a Triton model's repository in a folder ``triton`` of the model."""
    inner = folder / "triton"
    return inner if inner.is_dir() else folder


class BlobFolder:
    """A folder of blobs on the emulated Azure, ``blob://ACCOUNT/CONTAINER/FOLDER``; names are below it.

    Each call raises :class:`PackageFetchError`.
    """

    def __init__(self, source: str, endpoint: str) -> None:
        account, container, folder = source.removeprefix("blob://").split("/", 2)
        self._root = f"{endpoint}/_blob/{account}/{container}"
        self._prefix = folder.rstrip("/") + "/"

    def names(self) -> list[str]:
        found = json.loads(_get(f"{self._root}?prefix={quote(self._prefix)}"))["value"]
        return [name.removeprefix(self._prefix) for name in found]

    def content(self, name: str) -> bytes:
        return _get(f"{self._root}/{quote(self._prefix + name)}")

    def properties(self, name: str) -> bytes:
        """Changes when the blob does."""
        return _get(f"{self._root}/{quote(self._prefix + name)}?comp=properties")


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise PackageFetchError(f"{url}: {error.code} {error.reason}") from None


def _s3(source: str) -> tuple[str, str]:
    parts = urlsplit(source)
    if parts.scheme != "s3" or not parts.path.strip("/"):
        raise PackageFetchError(f"{source}: not an address of the form s3://bucket/key")
    return parts.netloc, parts.path.lstrip("/")


def _unpack(archive: Path, fresh: Path, target: Path, source: str) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(fresh, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise PackageFetchError(f"{source} cannot be unpacked: {error}") from None
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
