"""Pulumi's assets and archives as bytes: what is uploaded, and how two of them are told apart."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pulumi

_EPOCH = (1980, 1, 1, 0, 0, 0)


def asset_bytes(asset: Any) -> bytes:
    """The content of a file or text asset. Remote assets are refused: the twin reaches no network."""
    if isinstance(asset, pulumi.FileAsset):
        return Path(str(asset.path)).read_bytes()
    if isinstance(asset, pulumi.StringAsset):
        return str(asset.text).encode()
    if isinstance(asset, pulumi.FileArchive | pulumi.AssetArchive):
        return archive_bytes(asset)
    raise ValueError(f"cannot read a {type(asset).__name__} on the twin")


def archive_bytes(archive: Any) -> bytes:
    """An archive as one zip, the same bytes for the same content: sorted names, fixed times and modes."""
    if isinstance(archive, pulumi.FileArchive) and Path(str(archive.path)).is_file():
        return Path(str(archive.path)).read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in sorted(_files(archive).items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, content)
    return buffer.getvalue()


def _files(archive: Any, prefix: str = "") -> dict[str, bytes]:
    if isinstance(archive, pulumi.FileArchive):
        root = Path(str(archive.path))
        paths = [p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        return {prefix + p.relative_to(root).as_posix(): p.read_bytes() for p in paths}
    if isinstance(archive, pulumi.AssetArchive):
        files: dict[str, bytes] = {}
        for name, item in archive.assets.items():
            if isinstance(item, pulumi.Archive):
                files |= _files(item, f"{prefix}{name}/" if name not in ("", ".") else prefix)
            else:
                files[prefix + name] = asset_bytes(item)
        return files
    raise ValueError(f"cannot read a {type(archive).__name__} on the twin")


def is_asset(value: Any) -> bool:
    """Whether a value is an asset or an archive."""
    return isinstance(value, pulumi.Asset | pulumi.Archive)


def asset_digest(asset: Any) -> str:
    """What tells two assets apart: their content."""
    try:
        return hashlib.sha256(asset_bytes(asset)).hexdigest()
    except (ValueError, OSError) as error:
        return f"unreadable: {error}"
