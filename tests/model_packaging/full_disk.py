"""Runs in a mount namespace of its own: puts a store on a file system of a few pages and fills it.

``unshare --mount python -m tests.model_packaging.full_disk FOLDER`` (``--map-root-user`` for who is not root). Prints
what happened at each size as JSON lines: the error, and whether what is left is sound.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from model_packaging.registry import builds, oci
from model_packaging.registry.registry import Registry
from spillway.contracts.manifest import PackageError, read_manifest
from tests.model_packaging.intact import registry_problems, store_problems
from tests.model_packaging.packages import make_version, version_of

PADDING = 400_000
SIZES_KIB = (4, 16, 64, 256, 448, 4096)


def main(folder: Path) -> None:
    package = make_version(folder / "made", "one", PADDING)
    source = folder / "registry"
    Registry.open(str(source)).push(package)
    oci.export(package, folder / "layout")
    for size_kib in SIZES_KIB:
        for name, act, look in _attempts(package, source, folder / "layout"):
            disk = folder / "disk"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(disk)], check=True)
            try:
                message = ""
                try:
                    act(disk / "store")
                except PackageError as error:
                    message = str(error)
                told = {"what": name, "size_kib": size_kib, "error": message, "left": look(disk / "store")}
                told["files"] = sorted(path.name for path in disk.rglob("*") if path.is_file())
                print(json.dumps(told))
            finally:
                subprocess.run(["umount", str(disk)], check=True)
                disk.rmdir()


def _attempts(
    package: Path, source: Path, layout: Path
) -> Iterator[tuple[str, Callable[[Path], object], Callable[[Path], list[str]]]]:
    version = version_of(package)
    yield "push", lambda store: Registry.open(str(store)).push(package), registry_problems
    yield "pull", lambda store: Registry.open(str(source)).pull("echo", version, store), store_problems
    yield "commit", lambda store: _commit(package, store), store_problems
    yield "import", lambda store: oci.import_layout(layout, store), store_problems


def _commit(package: Path, store: Path) -> None:
    """What a build does at its end."""
    with builds.build_lock(store, "echo", lambda message: None), builds.workspace(store, "echo") as work:
        shutil.copytree(package, work / "package")
        builds.commit(store, work / "package", read_manifest(package))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
