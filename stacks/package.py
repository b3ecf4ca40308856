"""The package that a stack deploys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.model_store.content import SiteContent, Upload
from spillway.contracts.classes import Site
from spillway.contracts.manifest import Manifest


@dataclass(frozen=True)
class Package:
    """A verified package and where it lies."""

    manifest: Manifest
    path: Path

    def content(self, site: Site) -> SiteContent:
        """What ``site`` fetches of it; objects are stored under the paths that they have in the package."""
        delivery = self.manifest.delivery(site)
        uploads = tuple(Upload(self.path / file.path, file.path, file.sha256) for file in delivery.files)
        return SiteContent(delivery.path, delivery.sha256, uploads)
