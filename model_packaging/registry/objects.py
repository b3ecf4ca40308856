"""A store of objects by key, the same for a folder, S3 and Azure Blob: what a registry needs of one, and no more.

``create`` is the one step that everything rests on: it writes an object only where there is none, whole or not at all.
S3 and Azure Blob do it with ``If-None-Match: *``, a folder with a hard link from a finished file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from model_packaging.registry.builds import is_full, sync
from spillway.contracts.manifest import PackageError, sha256_of_file

SCHEMES: Final = ("file", "s3", "az", "abfs", "abfss", "memory")
_INCOMING: Final = ".incoming"
_LOCK: Final = ".lock"
_CLOUD_ERRORS: Final = ("botocore", "aiobotocore", "azure", "aiohttp")
_READ_BYTES: Final = 16 << 20
_CONFLICT_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0)


class RegistryError(PackageError):
    """A registry cannot do what was asked. The message says what is there and how to mend it."""


class RegistryConfigError(RegistryError):
    """The registry's address cannot be used."""


def open_objects(url: str) -> Objects:
    """``url``: a folder, ``s3://bucket/prefix``, or ``az://container/prefix``.

    Credentials come from where each SDK looks for them: ``AWS_*`` variables, profiles and roles;
    ``AZURE_STORAGE_*`` variables, else Azure's default credential chain. None are taken from the address.
    """
    scheme = url.split("://", 1)[0] if "://" in url else "file"
    if scheme not in SCHEMES:
        raise RegistryConfigError(
            f"registry {url!r}: {scheme}:// is unknown; give a folder, s3://bucket/prefix or az://container/prefix."
        )
    if scheme == "file":
        return FolderObjects(Path(url.removeprefix("file://")).absolute())
    try:
        # Listings that are kept would hide what another machine has just pushed.
        found, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except (ImportError, ValueError) as error:
        raise RegistryConfigError(f"registry {url!r} cannot be opened: {error}") from error
    return Objects(found, root.rstrip("/"), url)


class Objects:
    """Objects below one prefix of an fsspec file system. Keys are relative, with forward slashes.

    Every failure but ``FileNotFoundError`` and ``FileExistsError`` is a :class:`RegistryError`.
    """

    def __init__(self, file_system: fsspec.AbstractFileSystem, root: str, url: str) -> None:
        self._fs: Any = file_system
        self._root = root
        self.url = url

    def read(self, key: str) -> bytes:
        with self._told():
            return bytes(self._fs.cat_file(self._path(key)))

    def size(self, key: str) -> int | None:
        """In bytes; ``None`` where there is no such object."""
        with self._told():
            try:
                return int(self._fs.info(self._path(key))["size"])
            except FileNotFoundError:
                return None

    def names(self, prefix: str) -> list[str]:
        """What is directly below ``prefix``, sorted; empty where there is nothing."""
        path = self._path(prefix)
        with self._told():
            self._fs.invalidate_cache()
            try:
                listed = self._fs.ls(path, detail=False)
            except FileNotFoundError:
                return []
        names = {str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in listed if str(entry).rstrip("/") != path}
        return sorted(name for name in names if not name.startswith("."))

    def create(self, key: str, data: bytes) -> None:
        """Raises ``FileExistsError`` where there is one; of several writers at once, one gets through."""
        for pause_s in _CONFLICT_PAUSES_S:
            with self._told():
                try:
                    self._fs.pipe_file(self._path(key), data, mode="create")
                    return
                except OSError as error:
                    code = _s3_code(error)
                    if code == "PreconditionFailed":
                        raise FileExistsError(key) from error
                    # S3 answers this when two conditional writes meet, and asks for another try.
                    if code != "ConditionalRequestConflict":
                        raise
            time.sleep(pause_s)
        raise RegistryError(f"registry {self.url}: others keep writing {key}; try again.")

    def replace(self, key: str, data: bytes) -> None:
        with self._told():
            self._fs.pipe_file(self._path(key), data)

    def upload(self, path: Path, key: str, sha256: str) -> None:
        """A file under a key that its content names: who writes it twice writes the same bytes."""
        with self._told():
            self._fs.put_file(str(path), self._path(key))
        if sha256_of_file(path) != sha256:
            self.delete(key)
            raise RegistryError(f"{path} changed while it was pushed; nothing was published. Push again.")

    def download(self, key: str, path: Path) -> None:
        """Into ``path``, going on where an earlier download of it stopped. The caller checks the content."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as target:
            have = target.tell()
            with self._told():
                source = self._fs.open(self._path(key), "rb", block_size=_READ_BYTES)
            with source:
                if have >= source.size:
                    return
                source.seek(have)
                while chunk := self._read_chunk(source):
                    target.write(chunk)

    def _read_chunk(self, source: Any) -> bytes:
        with self._told():
            return source.read(_READ_BYTES)

    def delete(self, key: str) -> None:
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around everything that writes. Cloud stores need nothing."""
        yield

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Failures of three SDKs as one kind of error. What an SDK says is kept: it never holds a secret."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, RegistryError):
            raise
        except PermissionError as error:
            raise RegistryError(
                f"registry {self.url}: access is denied: {error}. Check the credentials, and that they may read and "
                "write there."
            ) from error
        except OSError as error:
            raise RegistryError(self._os_message(error)) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in _CLOUD_ERRORS:
                raise
            raise RegistryError(
                f"registry {self.url}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}. "
                "Check the address, the network and the credentials."
            ) from error

    def _os_message(self, error: OSError) -> str:
        if is_full(error):
            return f"registry {self.url}: the disk is full; nothing was published. Free space and try again."
        return f"registry {self.url}: {error}"


class FolderObjects(Objects):
    """A folder. What is being written stands under ``.incoming`` until it is whole."""

    def __init__(self, root: Path) -> None:
        super().__init__(LocalFileSystem(skip_instance_cache=True), str(root), str(root))
        self._incoming = root / _INCOMING

    def create(self, key: str, data: bytes) -> None:
        with self._draft() as draft:
            _write(draft, data)
            target = self._target(key)
            os.link(draft, target)
            sync(target.parent)

    def replace(self, key: str, data: bytes) -> None:
        with self._draft() as draft:
            _write(draft, data)
            draft.replace(self._target(key))

    def upload(self, path: Path, key: str, sha256: str) -> None:
        with self._draft() as draft:
            shutil.copyfile(path, draft)
            sync(draft)
            if sha256_of_file(draft) != sha256:
                raise RegistryError(f"{path} changed while it was pushed; nothing was published. Push again.")
            target = self._target(key)
            draft.replace(target)
            # A manifest that names this blob must not be on the disk before the blob's name is.
            sync(target.parent)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Writers share a lock that ends with their process. One who is alone first removes what killed ones left."""
        with self._told():
            try:
                Path(self._root).mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise RegistryError(f"registry {self.url} is a file; give a folder.") from error
            lock = os.open(Path(self._root, _LOCK), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(self._incoming, ignore_errors=True)
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    def _target(self, key: str) -> Path:
        path = Path(self._path(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        draft = self._incoming / uuid.uuid4().hex
        with self._told():
            draft.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield draft
            finally:
                draft.unlink(missing_ok=True)


def _s3_code(error: OSError) -> str:
    """What S3 said, where it was S3: s3fs keeps botocore's error as the cause."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)
