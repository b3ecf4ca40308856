"""A folder of packages, ready to serve: ``<store>/<name>/<version>/``. Builds and pulls land here.

A version is there whole or not at all, and never changes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from spillway.contracts.manifest import MANIFEST_NAME, Manifest, PackageError, read_manifest, verify_package

CURRENT: Final = "current"
"""The link, beside a name's versions, to the one that stack files mean."""

_BUILDING: Final = ".building-"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreConfigError(PackageError):
    """A folder of packages cannot be used as it is."""


def find_build(store: Path, name: str, build_key: str) -> Path | None:
    """The package that an earlier build from the same inputs left, if it is still whole."""
    for manifest_file in sorted((store / name).glob(f"[!.]*/{MANIFEST_NAME}")):
        with contextlib.suppress(PackageError):
            if read_manifest(manifest_file.parent).build_key == build_key:
                verify_package(manifest_file.parent)
                return manifest_file.parent
    return None


@contextlib.contextmanager
def build_lock(store: Path, name: str, progress: Callable[[str], None]) -> Iterator[None]:
    """One build of a name at a time in a store. The lock ends with the process, however it ends."""
    folder = store / name
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"another build of {name} is running; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        # Whoever held the lock is gone, so these are what a killed build left.
        for left_over in folder.glob(f"{_BUILDING}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        yield


@contextlib.contextmanager
def workspace(store: Path, name: str) -> Iterator[Path]:
    """A temporary folder on the store's file system, gone afterwards whatever happens."""
    with disk_errors(store):
        folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=store / name))
    try:
        with disk_errors(store):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit(store: Path, built: Path, manifest: Manifest) -> Path:
    """Write the manifest and move the package to its place. An equal version there stays."""
    with disk_errors(store):
        (built / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return place(store, built, manifest)


def place(store: Path, built: Path, manifest: Manifest) -> Path:
    """Move a whole package, its manifest written, to its place in one step. An equal version there stays."""
    final = store / manifest.name / manifest.version
    with disk_errors(store):
        for path in (*built.rglob("*"), built):
            sync(path)
        built.chmod(0o755)
        if final.exists():
            with contextlib.suppress(PackageError):
                verify_package(final)
                return final
            # The one there was damaged; the new one is whole. Two renames, so that the place is never half-filled.
            final.rename(built.parent / f"{_BUILDING}damaged-{manifest.version}")
        built.rename(final)
        sync(final.parent)
    return final


def point_at(package: Path) -> Path:
    """Make ``current`` beside the package a relative link to it, in one step. Raises :class:`StoreConfigError`."""
    package = package.resolve()
    link = package.parent / CURRENT
    if link.exists() and not link.is_symlink():
        raise StoreConfigError(f"{link} is no link; move it away, stacks look there for the newest package")
    draft = package.parent / f".{CURRENT}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(package.name)
    draft.replace(link)
    return link


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before what comes next."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses, as a :class:`PackageError` that says so."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise PackageError(
                f"{folder}: the disk is full; nothing was left behind. Free space and try again."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise PackageError(
                f"{folder}: cannot be written: {error.strerror}. Choose another output folder."
            ) from error
        raise


def is_full(error: OSError) -> bool:
    """Whether the disk, a quota or a limit on file size refused a write."""
    if isinstance(error, shutil.Error):
        # A copied folder tells only texts of what failed.
        return any(os.strerror(number) in str(error) for number in _FULL)
    return error.errno in _FULL
