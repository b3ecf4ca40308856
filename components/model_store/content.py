"""What a store uploads, and what each site then fetches: the same for a package's own files and any other source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Upload:
    """One object: a file on the deployer's disk, its key below the package's prefix, and its hexadecimal sha256."""

    path: Path
    key: str
    sha256: str


def package_prefix(name: str, version: str) -> str:
    """What the keys of a package's objects begin with, in every store."""
    return f"packages/{name}/{version}/"


@dataclass(frozen=True)
class SiteContent:
    """What one site serves. ``key``: of the archive, or of a folder, which ends in ``/``; below the package's prefix.

    ``sha256``: what the site checks: the archive's, or of a folder that of its list of digests; empty where each file
    carries its own. ``uploads``: all that it is made of.
    """

    key: str
    sha256: str
    uploads: tuple[Upload, ...]
