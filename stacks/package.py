"""The package that a stack deploys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spillway.contracts.manifest import Manifest


@dataclass(frozen=True)
class Package:
    """A verified package and where it lies."""

    manifest: Manifest
    path: Path
