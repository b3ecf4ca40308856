"""Build the gateways' runtime image, and pin what is in it. Run by ``make image`` and ``make lock``.

What goes into the image is laid out in ``.spillway/image`` first, its wheels checked against their hashes, so that the
build fetches nothing but its base. ``docs/how-to/runtime-image.md`` is the user's page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from components.gateway.settings import GatewaySettings
from spillway import __version__
from stacks.runtime_image import BUILDERS, ImageError, Tool, chosen_builder

ROOT: Final = Path(__file__).resolve().parent.parent
CONTAINERFILE: Final = ROOT / "spillway" / "runtime" / "Containerfile"
PINS: Final = ROOT / "requirements" / "runtime.txt"
LICENSE: Final = ROOT / "LICENSE"
WORK: Final = ROOT / ".spillway" / "image"
CONTEXT: Final = WORK / "context"
SBOM: Final = CONTEXT / "sbom.cdx.json"
ENVIRONMENT: Final = WORK / "environment"
PACKAGES: Final = ("spillway/__init__.py", "spillway/contracts", "spillway/runtime")
PYTHON: Final = "3.11"
PLATFORM: Final = "linux/amd64"
"""What the standby gateway's task asks for."""

WHEELS: Final = ("--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28")
PINNED_BASE: Final = re.compile(r"oci:\S+|[^\s@]+@sha256:[0-9a-f]{64}")


def runtime_extra() -> list[str]:
    """What the runtime imports: the ``runtime`` extra."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["runtime"]


def lock() -> None:
    """Pin the ``runtime`` extra and what it needs, with hashes, at the versions of ``requirements/lock.txt``."""
    shape = ["--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    shape += ["--custom-compile-command", "make lock", "--constraint", "requirements/lock.txt"]
    _uv("compile", *WHEELS, *shape, "--output-file", str(PINS.relative_to(ROOT)), "-", stdin="\n".join(runtime_extra()))


def checked_base(base: str) -> str:
    """The base image, when its bytes are pinned."""
    if not PINNED_BASE.fullmatch(base):
        raise ImageError(
            f"BASE is {base or 'not given'}: give an image with Python {PYTHON} by digest, NAME@sha256:DIGEST, "
            "or an OCI layout, oci:FOLDER:TAG. A digest is shown by "
            f"skopeo inspect --format '{{{{.Digest}}}}' docker://docker.io/library/python:{PYTHON}-slim-bookworm"
        )
    return base


def lay_out(epoch: int) -> None:
    """Everything that the Containerfile copies, with the same modes and times on every machine."""
    shutil.rmtree(WORK, ignore_errors=True)
    CONTEXT.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)], check=True)
    python = str(ENVIRONMENT / "bin" / "python")
    trusted = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy"]
    _uv("install", "--python", python, *WHEELS, *trusted, "--requirement", str(PINS))
    _write_sbom(epoch)
    shutil.copy(LICENSE, CONTEXT)
    installed = next(ENVIRONMENT.glob("lib/python*/site-packages"))
    shutil.copytree(installed, CONTEXT / "site-packages", ignore=shutil.ignore_patterns("__pycache__"))
    for part in PACKAGES:
        _copy(ROOT / part, CONTEXT / "site-packages" / part)
    for path in (CONTEXT, *CONTEXT.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch))


def _write_sbom(epoch: int) -> None:
    """CycloneDX, of the environment itself, so that it lists what is there and not what was asked for."""
    whole = WORK / "pyproject.toml"
    whole.write_text(
        f'[project]\nname = "spillway-runtime"\nversion = "{__version__}"\nlicense = "Apache-2.0"\n'
        f"dependencies = {json.dumps(runtime_extra())}\n"
    )
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(whole), "--output-reproducible"]
    command += ["--output-format", "JSON", "--output-file", str(SBOM), str(ENVIRONMENT)]
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", CONTAINERFILE.name))
    else:
        shutil.copy(source, target)


def labels(epoch: int, source: str) -> Iterator[str]:
    """What the Containerfile cannot know of itself, by OCI's names for it."""
    changed = _git("status", "--porcelain", "--", *PACKAGES, *(str(path.relative_to(ROOT)) for path in (PINS, LICENSE)))
    values = {
        "version": __version__,
        "revision": _git("rev-parse", "HEAD") + ("-dirty" if changed else ""),
        "created": datetime.fromtimestamp(epoch, UTC).isoformat(),
        "source": source,
    }
    for name, value in values.items():
        if value:
            yield f"org.opencontainers.image.{name}={value}"


def origin() -> str:
    """The address of git's ``origin``, without the name and the token that it may hold; empty where there is none."""
    parts = urlsplit(_git("config", "--default", "", "--get", "remote.origin.url"))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def build(builder: Tool, base: str, name: str, source: str) -> None:
    """Lay out and build; SOURCE_DATE_EPOCH overrides the commit's time."""
    if builder == "docker" and base.startswith("oci:"):
        raise ImageError(f"BASE is {base}: docker reads no OCI layout; give BUILDER=podman or BUILDER=buildah")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct"))
    lay_out(epoch)
    command = ["docker", "buildx", "build", "--load"] if builder == "docker" else [builder, "build"]
    if builder != "docker":
        command += ["--timestamp", str(epoch), "--layers=false"]
    command += ["--platform", PLATFORM, "--file", str(CONTAINERFILE), "--tag", name]
    for value in (f"BASE={base}", f"PYTHON={PYTHON}"):
        command += ["--build-arg", value]
    for label in labels(epoch, source):
        command += ["--label", label]
    subprocess.run([*command, str(CONTEXT)], check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})


def push(builder: Tool, name: str) -> str:
    """Push it; returns its address with the digest that the registry knows it by."""
    if builder == "docker":
        subprocess.run(["docker", "push", name], check=True)
        shown = ["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", name]
        return name + "@" + _output(shown).partition("@")[2]
    digest = WORK / "digest"
    subprocess.run([builder, "push", "--digestfile", str(digest), name], check=True)
    return f"{name}@{digest.read_text().strip()}"


def _uv(verb: str, *arguments: str, stdin: str | None = None) -> None:
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", verb, "--quiet", *arguments], check=True, cwd=ROOT, input=stdin, text=True
    )


def _git(*arguments: str) -> str:
    return _output(["git", *arguments])


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lock", help="renew requirements/runtime.txt")
    pushing = commands.add_parser("push", help="push the image as it is on this machine, and print its digest")
    building = commands.add_parser("build", help="build the image, and push it if asked")
    building.add_argument("--base", default="", help="NAME@sha256:DIGEST or oci:FOLDER:TAG")
    for each in (building, pushing):
        each.add_argument("--builder", default="", help=f"one of {', '.join(BUILDERS)}; else the first that is here")
        each.add_argument("--name", default="", help="REGISTRY/NAME:TAG; else the default of gateway.agent_image")
    building.add_argument("--source", default="", help="address of the source; else that of git's origin")
    building.add_argument("--push", action="store_true", help="push it, and print its digest")
    args = parser.parse_args()
    if args.command == "lock":
        lock()
        return 0
    try:
        name = args.name or GatewaySettings().agent_image
        if args.command == "build":
            base, builder = checked_base(args.base), chosen_builder(args.builder)
            build(builder, base, name, args.source or origin())
            print(f"built {name}; its SBOM is {SBOM.relative_to(ROOT)}")
        else:
            builder = chosen_builder(args.builder)
        if args.command == "push" or args.push:
            print(f"gateway.agent_image: {push(builder, name)}")
    except ImageError as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
