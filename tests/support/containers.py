"""Images built and run with podman, without a daemon and without a registry: for tests of the runtime image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SUITE = "bookworm"
"""The Debian whose Python is the image's."""

LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""Podman's own are higher than a machine may allow."""


def skip_without_podman() -> None:
    """Skip where no image can be built and run, or no base be made."""
    absent = [tool for tool in ("podman", "debootstrap") if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"not on PATH: {', '.join(absent)}; apt-get install podman runc buildah debootstrap")
    if os.geteuid() != 0:
        pytest.skip("debootstrap, which makes the base image, needs root")


@contextmanager
def own_store() -> Iterator[dict[str, str]]:
    """The environment in which podman and buildah keep their images apart from yours, in memory, until the end."""
    store = tempfile.mkdtemp(prefix="spillway-images-", dir="/dev/shm")
    config = Path(store, "storage.conf")
    config.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{store}/graph"\nrunroot = "{store}/run"\n')
    try:
        # chroot: the commands of a build need no namespaces.
        yield {**os.environ, "CONTAINERS_STORAGE_CONF": str(config), "BUILDAH_ISOLATION": "chroot"}
    finally:
        # What a failed build has mounted stays.
        shutil.rmtree(store, ignore_errors=True)


def debian_base(environment: Mapping[str, str], folder: Path) -> str:
    """Debian with Python 3.11, as BASE takes it: an OCI layout, made once and kept in the user's cache.

    It is reached through ``folder``, since builders name a layout by its path and take no ``.cache`` for a name."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spillway"
    layout = cache / f"debian-{SUITE}-python3"
    if not layout.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _make_base(Path(scratch), environment).rename(layout)
    (folder / "debian").symlink_to(layout)
    return f"oci:{folder / 'debian'}"


def _make_base(folder: Path, environment: Mapping[str, str]) -> Path:
    root, archive, layout = folder / "root", folder / "root.tar", folder / "layout"
    include = "--include=python3,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", include, SUITE, root], check=True, stdout=subprocess.DEVNULL)
    left_out = [f"--exclude=./{path}" for path in ("dev/*", "var/cache/apt/*", "var/lib/apt/lists/*")]
    subprocess.run(["tar", *left_out, "-C", root, "-cf", archive, "."], check=True)
    subprocess.run(["podman", "import", "--quiet", archive, "debian"], check=True, env=environment)
    subprocess.run(["podman", "push", "--quiet", "debian", f"oci:{layout}"], check=True, env=environment)
    return layout


def like_a_pod(pod: Mapping[str, Any], container: Mapping[str, Any], folder: Path) -> list[str]:
    """Podman's arguments for one container of a pod; its volumes are folders of the same path below ``folder``."""
    security = {**pod["securityContext"], **container["securityContext"]}
    arguments = ["--user", f"{int(security['runAsUser'])}:{int(security['runAsGroup'])}"]
    if not security["allowPrivilegeEscalation"]:
        arguments += ["--security-opt", "no-new-privileges"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    return [
        *arguments,
        *_read_only(security["readOnlyRootFilesystem"]),
        *_dropped(security["capabilities"]["drop"]),
        *_environment(container["env"]),
        *_volumes(mounts, folder),
        *("--entrypoint", json.dumps(container["command"])),
    ]


def like_a_task(container: Mapping[str, Any], folder: Path) -> list[str]:
    """As :func:`like_a_pod`, for one container of an ECS task."""
    mounts = {mount["containerPath"]: mount["readOnly"] for mount in container["mountPoints"]}
    return [
        *("--user", container["user"]),
        *_read_only(container["readonlyRootFilesystem"]),
        *_dropped(container["linuxParameters"].get("capabilities", {}).get("drop", ())),
        *_environment(container["environment"]),
        *_volumes(mounts, folder),
        *("--entrypoint", json.dumps([*container["entryPoint"], *container.get("command", ())])),
    ]


def _read_only(read_only: bool) -> Iterable[str]:
    return ("--read-only", "--read-only-tmpfs=false") if read_only else ()


def _dropped(capabilities: Iterable[str]) -> Iterator[str]:
    for capability in capabilities:
        yield from ("--cap-drop", capability)


def _environment(variables: Iterable[Mapping[str, str]]) -> Iterator[str]:
    for variable in variables:
        yield from ("--env", f"{variable['name']}={variable['value']}")


def _volumes(mounts: Mapping[str, bool], folder: Path) -> Iterator[str]:
    for path, read_only in mounts.items():
        here = folder / path.removeprefix("/")
        here.mkdir(parents=True, exist_ok=True)
        yield from ("--volume", f"{here}:{path}:{'ro' if read_only else 'rw'}")
