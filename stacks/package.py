"""The package that a stack deploys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.model_store.content import SiteContent, Upload
from spillway.contracts.classes import SiteName
from spillway.contracts.manifest import ENGINES, VERSION_LENGTH, Manifest
from spillway.contracts.targets import Layout
from spillway.contracts.trt_engines import REPOSITORY_NAME, EngineRecord, engine_folder


@dataclass(frozen=True)
class Package:
    """A verified package and where it lies. ``engines``: of the sites that serve one instead of the portable model.
    ``canary``: the release that is tried beside it."""

    manifest: Manifest
    path: Path
    engines: Mapping[SiteName, EngineRecord] = field(default_factory=dict)
    canary: Package | None = None

    def content(self, site: SiteName, layout: Layout) -> SiteContent:
        """What ``site`` fetches of it, which reads ``layout`` of Triton packages; objects are stored under the paths
        that they have in the package.

        An engine's archive is stored under its digest: compiled again it is another one, and no object ever changes.
        """
        if record := self.engines.get(site):
            sha256 = record.repository_sha256
            archive = engine_folder(self.path, record.key, record.precision) / REPOSITORY_NAME
            key = f"{ENGINES}/{record.key.folder}/{record.precision}/{sha256[:VERSION_LENGTH]}.tar.gz"
            return SiteContent(key, sha256, (Upload(archive, key, sha256),))
        delivery = self.manifest.delivery(layout)
        uploads = tuple(Upload(self.path / file.path, file.path, file.sha256) for file in delivery.files)
        return SiteContent(delivery.path, delivery.sha256, uploads)
