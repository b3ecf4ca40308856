"""Package a model: make its variants, check them, lay out what holds its bounds, and store it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_packaging.config import packager_of
from model_packaging.packager import PackageConfig, Packager, Progress
from model_packaging.provenance import provenance_of
from model_packaging.registry import builds
from model_packaging.sources import files_sha256
from spillway.contracts.manifest import Manifest, describe_files, read_manifest


@dataclass(frozen=True)
class PackageResult:
    """A finished package. ``cached``: it was there already, built from the same inputs."""

    path: Path
    manifest: Manifest
    cached: bool
    seconds: float
    packager: Packager[Any, Any]

    def table(self) -> list[dict[str, object]]:
        """One row per variant and for the reference, best first: what the command line prints."""
        return self.packager.rows(self.manifest)

    def columns(self) -> dict[str, str]:
        """Title → key of a row, for what people compare variants by."""
        return self.packager.columns(self.manifest)


def package(config: PackageConfig, out_dir: Path, progress: Progress = lambda message: None) -> PackageResult:
    """Package ``config`` into ``<out_dir>/<name>/<version>/``.

    The same inputs (configuration, files, tool versions) are a cache hit. Raises
    :class:`model_packaging.errors.ModelConfigError` or :class:`PackageError`; then nothing is left behind.
    """
    start = time.perf_counter()
    packager = packager_of(config)
    key = build_key(config)
    out_dir = out_dir.absolute()
    with builds.build_lock(out_dir, config.name, progress):
        found = builds.find_build(out_dir, config.name, key)
        if found:
            progress(f"{config.name} {found.name} is up to date")
        path = found or _build(packager, config, key, out_dir, progress)
    return PackageResult(path, read_manifest(path), found is not None, time.perf_counter() - start, packager)


def build_key(config: PackageConfig) -> str:
    """sha256 over everything that a build reads: the configuration, the source's files, the tools, and this package."""
    root = Path(__file__).parent
    own = {path.relative_to(root).as_posix(): path for path in root.glob("**/*.py") if "examples" not in path.parts}
    packager = packager_of(config)
    parts = {
        "config": config.model_dump(mode="json"),
        "files": files_sha256(packager.source_files(config)),
        "tools": packager.tools(),
        "packager": files_sha256(own),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _build(packager: Packager[Any, Any], config: PackageConfig, key: str, out_dir: Path, progress: Progress) -> Path:
    with builds.workspace(out_dir, config.name) as work:
        assessed = packager.assess(config, work, progress)
        folder = work / "package"
        folder.mkdir()
        own = packager.lay_out(config, assessed, folder, progress)
        common = {
            "build_key": key,
            "files": describe_files(folder),
            "tools": packager.tools(),
            "provenance": provenance_of(config.base_dir, assessed.calibration),
        }
        manifest = own.model_copy(update=common).sealed()
        path = builds.commit(out_dir, folder, manifest)
    progress(f"{config.name} {manifest.version} is ready")
    return path
