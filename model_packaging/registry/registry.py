"""A registry: packages shared between machines, in a folder, S3 or Azure Blob.

::

    blobs/sha256/<hex>                                        every file once, whatever versions hold it
    packages/<name>/versions/<version>/manifest.json          written last: with it the version is there, whole
    packages/<name>/versions/<version>/model.sig              the signature, where there is one
    packages/<name>/versions/<version>/engines/<key>/<precision>.json    the files of a compiled engine
    packages/<name>/stages/<stage>/<number>.json              see stages.py

A push that is killed leaves blobs that nothing names; the next push of the same files finds them and goes on. A pull
that is killed leaves a ``.pulling-`` folder that the next one goes on with.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from model_packaging.registry import builds, signing
from model_packaging.registry.objects import Objects, RegistryError, open_objects
from model_packaging.registry.stages import STAGES, Stages
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import (
    ENGINES,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    Manifest,
    PackageError,
    PackageFile,
    parse_manifest,
    read_manifest,
    sha256_of_file,
    verify_package,
)
from spillway.contracts.trt_engines import engine_folders, verify_engine

Progress = Callable[[str], None]

ALL_ENGINES: Final = "all"
_TRANSFERS: Final = 4
_SHORTEST_REF: Final = 4
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


class EngineFiles(Frozen):
    """The files of one engine folder, by content."""

    files: tuple[PackageFile, ...]


@dataclass(frozen=True)
class Pushed:
    """``new``: whether the version was not there before. ``sent`` counts files and bytes that were uploaded."""

    manifest: Manifest
    new: bool
    sent_files: int
    sent_bytes: int
    engines: tuple[str, ...]


@dataclass(frozen=True)
class Pulled:
    """A package on this machine, checked. ``signed``: it carries a signature, which is not to say whose."""

    path: Path
    manifest: Manifest
    engines: tuple[str, ...]
    signed: bool


@dataclass(frozen=True)
class StoredVersion:
    """One version in a registry and the stages it has. ``engines``: ``<hardware key>/<precision>``."""

    manifest: Manifest
    stages: tuple[str, ...]
    engines: tuple[str, ...]
    signed: bool


class Registry:
    """Packages by name and version. Errors are :class:`PackageError`; a failed call publishes nothing."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @classmethod
    def open(cls, url: str) -> Registry:
        """See :func:`model_packaging.registry.objects.open_objects`."""
        return cls(open_objects(url))

    def names(self) -> list[str]:
        return [name for name in self._objects.names("packages") if self.versions(name)]

    def versions(self, name: str) -> list[str]:
        """The versions that are there whole, by version."""
        folder = f"packages/{_checked(name)}/versions"
        found = self._objects.names(folder)
        return [version for version in found if self._objects.size(f"{folder}/{version}/{MANIFEST_NAME}") is not None]

    def stages(self, name: str) -> Stages:
        return Stages(self._objects, _checked(name))

    def describe(self, name: str) -> list[StoredVersion]:
        """Every version of ``name`` with its stages and engines."""
        stages = self.stages(name)
        current = {stage: stages.current(stage) for stage in STAGES}
        return [
            StoredVersion(
                manifest=self.manifest(name, version),
                stages=tuple(stage for stage, held_by in current.items() if held_by == version),
                engines=tuple(self._engines(name, version)),
                signed=self._objects.size(f"{_folder(name, version)}/{SIGNATURE_NAME}") is not None,
            )
            for version in self.versions(name)
        ]

    def resolve(self, name: str, reference: str) -> str:
        """The version that a stage, a version or the beginning of one names."""
        if reference in STAGES:
            version = self.stages(name).current(reference)
            if version is None:
                raise RegistryError(f"no version of {name} is {reference}; `spillway package promote` makes one so.")
            return version
        there = self.versions(name)
        fitting = [version for version in there if version.startswith(reference)]
        if len(reference) < _SHORTEST_REF or len(fitting) != 1:
            raise RegistryError(
                f"{name}@{reference}: {len(fitting)} versions begin like that; there: {', '.join(there) or 'none'}. "
                f"Give a version, at least {_SHORTEST_REF} digits of one, or one of {', '.join(STAGES)}."
            )
        return fitting[0]

    def manifest(self, name: str, version: str) -> Manifest:
        """The manifest of a version, its digest and seal checked."""
        key = f"{_folder(name, version)}/{MANIFEST_NAME}"
        try:
            text = self._objects.read(key).decode()
        except FileNotFoundError:
            raise RegistryError(
                f"registry {self._objects.url} has no {name} {version}; there: "
                f"{', '.join(self.versions(name)) or 'none'}."
            ) from None
        except UnicodeDecodeError as error:
            raise RegistryError(f"registry {self._objects.url}: {key}: {error}. `push --repair` mends it.") from error
        manifest = parse_manifest(text, f"registry {self._objects.url}: {key}")
        if (manifest.name, manifest.version) != (name, version):
            raise RegistryError(f"registry {self._objects.url}: {key} is of {manifest.name} {manifest.version}.")
        return manifest

    def promote(self, name: str, reference: str, stage: str, note: str = "", expected: str | None = None) -> str:
        """Give a stage to the version that ``reference`` names, and return it. See :meth:`Stages.promote`."""
        version = self.resolve(name, reference)
        self.manifest(name, version)
        self.stages(name).promote(stage, version, note, expected)
        return version

    def push(
        self, package: Path, progress: Progress = lambda message: None, *, repair: bool = False, engines: bool = True
    ) -> Pushed:
        """Send a package that is whole, its signature and its engines.

        What is there already is not sent again. ``repair``: look into what is there and replace what is damaged.
        """
        manifest = verify_package(package)
        text = (package / MANIFEST_NAME).read_bytes()
        folder = _folder(manifest.name, manifest.version)
        with self._objects.writing():
            new = repair or not self._has(manifest)
            sent = self._send_files(package, manifest.files, progress, repair) if new else []
            if new:
                new = self._publish(f"{folder}/{MANIFEST_NAME}", text, manifest, repair)
            self._send_signature(package, manifest, text)
            carried = self._send_engines(package, manifest, progress, repair) if engines else []
        return Pushed(manifest, new, len(sent), sum(file.size_bytes for file in sent), tuple(carried))

    def pull(
        self,
        name: str,
        reference: str,
        out: Path,
        progress: Progress = lambda message: None,
        *,
        engines_for: Iterable[str] = (),
        public_key: Path | None = None,
    ) -> Pulled:
        """Fetch a version into ``<out>/<name>/<version>/`` and check every file.

        ``engines_for``: hardware keys whose engines are wanted, or ``all``. ``public_key``: whoever signed the package
        must hold the private key to it, else nothing is left.
        """
        version = self.resolve(name, reference)
        manifest = self.manifest(name, version)
        final = out / name / version
        with builds.build_lock(out, name, progress):
            with contextlib.suppress(PackageError):
                verify_package(final)
                progress(f"{name} {version} is here already")
                return self._complete(final, manifest, engines_for, public_key, progress)
            partial = out / name / f".pulling-{version}"
            with builds.disk_errors(out):
                self._fetch_files(manifest, partial, progress)
                _replace(partial / MANIFEST_NAME, manifest.to_json().encode())
                self._fetch_signature(manifest, partial)
            if public_key:
                try:
                    signing.verify(partial, public_key)
                except PackageError:
                    shutil.rmtree(partial, ignore_errors=True)
                    raise
            builds.place(out, partial, manifest)
            return self._complete(final, manifest, engines_for, None, progress)

    def _complete(
        self,
        final: Path,
        manifest: Manifest,
        engines_for: Iterable[str],
        public_key: Path | None,
        progress: Progress,
    ) -> Pulled:
        """What is no part of the content: figures of the build that was pushed, its signature, its engines."""
        with builds.disk_errors(final):
            if read_manifest(final) != manifest:
                (final / SIGNATURE_NAME).unlink(missing_ok=True)
                _replace(final / MANIFEST_NAME, manifest.to_json().encode())
            self._fetch_signature(manifest, final)
            if public_key:
                signing.verify(final, public_key)
            engines = self._fetch_engines(manifest, final, set(engines_for), progress)
        return Pulled(final, manifest, tuple(engines), (final / SIGNATURE_NAME).exists())

    # -- sending

    def _has(self, manifest: Manifest) -> bool:
        if self._objects.size(f"{_folder(manifest.name, manifest.version)}/{MANIFEST_NAME}") is None:
            return False
        self._same(manifest)
        return True

    def _same(self, manifest: Manifest) -> None:
        stored = self.manifest(manifest.name, manifest.version)
        if stored.digest != manifest.digest:
            raise RegistryError(
                f"registry {self._objects.url}: {manifest.name} {manifest.version} is there with another content "
                f"({stored.digest}); versions never change."
            )

    def _publish(self, key: str, text: bytes, manifest: Manifest, repair: bool) -> bool:
        """Whether this push made the version appear."""
        try:
            self._objects.create(key, text)
            return True
        except FileExistsError:
            try:
                self._same(manifest)
            except PackageError:
                if not repair:
                    raise
                self._objects.replace(key, text)
            return False

    def _send_files(
        self, folder: Path, files: Iterable[PackageFile], progress: Progress, repair: bool
    ) -> list[PackageFile]:
        """The files that were not there. One content is sent once, however many files have it."""
        wanted = {file.sha256: file for file in files}
        progress(f"{len(wanted)} files, {sum(file.size_bytes for file in wanted.values()) / 1e6:.1f} MB; looking")

        def send(file: PackageFile) -> bool:
            key = _blob(file.sha256)
            if self._objects.size(key) == file.size_bytes and not (repair and self._is_damaged(file)):
                return False
            if file.size_bytes > 32 << 20:
                progress(f"sending {file.path}, {file.size_bytes / 1e6:.0f} MB")
            try:
                self._objects.upload(folder / file.path, key, file.sha256)
            except FileNotFoundError as error:
                raise RegistryError(f"registry {self._objects.url}: {error}") from error
            return True

        with ThreadPoolExecutor(_TRANSFERS) as pool:
            try:
                results = list(pool.map(send, wanted.values()))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [file for file, sent in zip(wanted.values(), results, strict=True) if sent]

    def _is_damaged(self, file: PackageFile) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "blob")
            self._objects.download(_blob(file.sha256), copy)
            return sha256_of_file(copy) != file.sha256

    def _send_signature(self, package: Path, manifest: Manifest, text: bytes) -> None:
        path = package / SIGNATURE_NAME
        if not path.exists():
            return
        folder = _folder(manifest.name, manifest.version)
        if self._objects.read(f"{folder}/{MANIFEST_NAME}") != text:
            raise RegistryError(
                f"{package}: {manifest.name} {manifest.version} is there from another build, with other figures in its "
                "manifest; this signature is not for that one. Pull it, sign that and push it."
            )
        self._objects.replace(f"{folder}/{SIGNATURE_NAME}", path.read_bytes())

    def _send_engines(self, package: Path, manifest: Manifest, progress: Progress, repair: bool) -> list[str]:
        """Engines that were not there. One that is there stays, but for a signature that it gets, or a repair."""
        sent = []
        for folder in engine_folders(package):
            verify_engine(folder)
            engine = f"{folder.parent.name}/{folder.name}"
            key = f"{_folder(manifest.name, manifest.version)}/{ENGINES}/{engine}.json"
            files = tuple(
                PackageFile(path=path.name, sha256=sha256_of_file(path), size_bytes=path.stat().st_size)
                for path in sorted(folder.iterdir())
                if path.is_file()
            )
            stored = self._engine_files(key)
            if stored and not repair and not set(stored) < set(files):
                progress(f"an engine for {engine} is there already")
                continue
            self._send_files(folder, files, progress, repair)
            self._objects.replace(key, (EngineFiles(files=files).model_dump_json(indent=2) + "\n").encode())
            sent.append(engine)
        return sent

    def _engine_files(self, key: str) -> tuple[PackageFile, ...]:
        """The files of an engine that is there; none where it is not, or its record is damaged."""
        try:
            return EngineFiles.model_validate_json(self._objects.read(key)).files
        except (FileNotFoundError, ValidationError):
            return ()

    # -- fetching

    def _fetch_files(self, manifest: Manifest, partial: Path, progress: Progress) -> None:
        wanted = {file.path for file in manifest.files}
        for path in partial.rglob("*"):
            if path.is_symlink() or (path.is_file() and path.relative_to(partial).as_posix() not in wanted):
                path.unlink()
        progress(f"{len(wanted)} files, {sum(file.size_bytes for file in manifest.files) / 1e6:.1f} MB")
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            try:
                list(pool.map(lambda file: self._fetch(file, partial / file.path), manifest.files))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, file: PackageFile, path: Path) -> None:
        """A file whose content is checked. One that an earlier pull began is gone on with, or begun anew."""
        key = _blob(file.sha256)
        for begun in [True, False] if path.exists() else [False]:
            if not begun:
                path.unlink(missing_ok=True)
            try:
                self._objects.download(key, path)
            except FileNotFoundError as error:
                raise RegistryError(
                    f"registry {self._objects.url}: {key} ({file.path}) is missing. Push the package again from where "
                    "it was made, with --repair."
                ) from error
            if _holds(path, file):
                return
        path.unlink()
        raise RegistryError(
            f"registry {self._objects.url}: {key} ({file.path}) is damaged: its content is not what its name says. "
            "Push the package again from where it was made, with --repair."
        )

    def _fetch_signature(self, manifest: Manifest, folder: Path) -> None:
        try:
            data = self._objects.read(f"{_folder(manifest.name, manifest.version)}/{SIGNATURE_NAME}")
        except FileNotFoundError:
            return
        _replace(folder / SIGNATURE_NAME, data)

    def _engines(self, name: str, version: str) -> list[str]:
        folder = f"{_folder(name, version)}/{ENGINES}"
        return [
            f"{key}/{record.removesuffix('.json')}"
            for key in self._objects.names(folder)
            for record in self._objects.names(f"{folder}/{key}")
        ]

    def _fetch_engines(self, manifest: Manifest, package: Path, keys: set[str], progress: Progress) -> list[str]:
        if not keys:
            return []
        there = self._engines(manifest.name, manifest.version)
        wanted = [engine for engine in there if ALL_ENGINES in keys or engine.split("/")[0] in keys]
        for missing in sorted(keys - {ALL_ENGINES} - {engine.split("/")[0] for engine in wanted}):
            progress(f"no engine for {missing} in the registry; `spillway package compile` makes one")
        for engine in wanted:
            self._fetch_engine(manifest, package / ENGINES / engine, engine)
        return wanted

    def _fetch_engine(self, manifest: Manifest, final: Path, engine: str) -> None:
        key = f"{_folder(manifest.name, manifest.version)}/{ENGINES}/{engine}.json"
        files = self._engine_files(key)
        if not files:
            raise RegistryError(f"registry {self._objects.url}: {key} cannot be read; push the engine again.")
        if all(_holds(final / file.path, file) for file in files):
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".storing-", dir=final.parent))
        try:
            for file in files:
                self._fetch(file, draft / final.name / file.path)
            shutil.rmtree(final, ignore_errors=True)
            os.rename(draft / final.name, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        verify_engine(final)


def _holds(path: Path, file: PackageFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of_file(path) == file.sha256


def _replace(path: Path, data: bytes) -> None:
    """The file with this content, in one step; one that has it already is left alone."""
    if path.exists() and path.read_bytes() == data:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RegistryError(f"package name {name!r}: small letters, digits, - and _, as in model.yaml.")
    return name


def _folder(name: str, version: str) -> str:
    return f"packages/{_checked(name)}/versions/{version}"


def _blob(sha256: str) -> str:
    return f"blobs/sha256/{sha256}"
