"""Assets and archives that know the hash of what they hold, so that only a change of content is a difference.

They are Pulumi's own classes, with a hash, an absolute path, and equality by hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pulumi

from spillway.contracts.manifest import sha256_of_file


class Hashed:
    """Mixed into Pulumi's asset classes. ``given_path`` is the path as the program wrote it."""

    content_hash: str
    given_path: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.content_hash[:12]})"


class FileAsset(Hashed, pulumi.FileAsset):
    def __init__(self, path: str, base: Path, content_hash: str | None = None) -> None:
        full = base / path
        super().__init__(str(full))
        self.given_path = path
        self.content_hash = content_hash or _hash_of_file(full)


class StringAsset(Hashed, pulumi.StringAsset):
    def __init__(self, text: str, content_hash: str | None = None) -> None:
        super().__init__(text)
        self.content_hash = content_hash or hashlib.sha256(text.encode()).hexdigest()


class RemoteAsset(Hashed, pulumi.RemoteAsset):
    """Hashed by its address: nothing is fetched."""

    def __init__(self, uri: str, content_hash: str | None = None) -> None:
        super().__init__(uri)
        self.content_hash = content_hash or hashlib.sha256(uri.encode()).hexdigest()


class FileArchive(Hashed, pulumi.FileArchive):
    """A packed file, or a folder (hashed over its sorted names and contents)."""

    def __init__(self, path: str, base: Path, content_hash: str | None = None) -> None:
        full = base / path
        super().__init__(str(full))
        self.given_path = path
        self.content_hash = content_hash or _hash_of_file(full)


class RemoteArchive(Hashed, pulumi.RemoteArchive):
    """Hashed by its address: nothing is fetched."""

    def __init__(self, uri: str, content_hash: str | None = None) -> None:
        super().__init__(uri)
        self.content_hash = content_hash or hashlib.sha256(uri.encode()).hexdigest()


class AssetArchive(Hashed, pulumi.AssetArchive):
    def __init__(self, assets: dict[str, Any], content_hash: str | None = None) -> None:
        super().__init__(assets)
        self.content_hash = content_hash or _hash_of_members(assets)


def _hash_of_members(assets: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(assets):
        digest.update(f"{name}\0{assets[name].content_hash}\0".encode())
    return digest.hexdigest()


def _hash_of_file(path: Path) -> str:
    if path.is_dir():
        digest = hashlib.sha256()
        for member in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{member.relative_to(path).as_posix()}\0{_hash_of_file(member)}\0".encode())
        return digest.hexdigest()
    try:
        return sha256_of_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"an asset names {path}, which is not there") from None
