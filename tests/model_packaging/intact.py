"""Whether what is left of a store after a fault is sound: everything that is there is whole, nothing is half there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from model_packaging.registry.registry import Registry
from spillway.contracts.manifest import PackageError, sha256_of_file, verify_package


def registry_problems(root: Path) -> list[str]:
    """Of a registry in a folder: every blob is what its name says, every version can be pulled."""
    problems = [
        f"blob {path.name} is not what it is called"
        for path in sorted((root / "blobs" / "sha256").glob("*"))
        if sha256_of_file(path) != path.name
    ]
    registry = Registry.open(str(root))
    for name in registry.names():
        for version in registry.versions(name):
            with tempfile.TemporaryDirectory() as here:
                try:
                    verify_package(registry.pull(name, version, Path(here)).path)
                except PackageError as error:
                    problems.append(str(error))
    return problems


def store_problems(root: Path) -> list[str]:
    """Of a folder of packages: every version that can be seen is whole."""
    problems = []
    for path in sorted(root.glob("*/[!.]*")):
        try:
            verify_package(path)
        except PackageError as error:
            problems.append(str(error))
    return problems
