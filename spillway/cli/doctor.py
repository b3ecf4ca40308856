"""``doctor``: what of this machine Spillway finds, what it misses, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import FAILED
from spillway.cli.options import stack_option

_MEMORY_GIB: Final = 6
_DISK_GIB: Final = 8
"""Of the twin with the example: three model servers, and three copies of a package."""
_PYTHON: Final = ((3, 11), (3, 12))
_EXTRAS: Final = {"package": ("torch", "onnxruntime"), "twin": ("moto", "psutil"), "policy": ("pulumi_policy",)}
"""Of ``pyproject.toml``, with modules that each brings."""
_PROGRAMS: Final = {
    "pulumi": ("`spillway deploy`, `pulumi up`", "from Pulumi's site"),
    "kubectl": ("looking at a cluster by hand", "from your distribution"),
}
_group = click.Group()


@dataclass(frozen=True)
class Finding:
    """``needed``: the twin does not run without it. ``mend``: empty where it is there."""

    what: str
    detail: str
    mend: str = ""
    needed: bool = False

    @property
    def state(self) -> str:
        return "ok" if not self.mend else "missing" if self.needed else "optional"


@command_of(_group)
@stack_option(needed=False)
def doctor(stack_name: str | None, as_json: bool) -> None:
    """Look at this machine: what the twin and a deployment need, and how to get what is missing.

    With --stack, at the cluster of somebody else's that the stack names, too: what it has to have, and what nobody may
    have brought there; and at the AWS account: what it has already, and cannot have twice. Nothing is changed there.

    Ends with 1 where the twin cannot run, or the stack cannot be deployed.
    """
    found = [*_machine(), *_environment(), *_programs(), _project()]
    if stack_name is not None:
        found += _cluster(stack_name)
    shown = [{**asdict(one), "state": one.state} for one in found]
    tell(as_json, {"findings": shown}, lambda: _text(found))
    if any(one.state == "missing" for one in found):
        raise click.exceptions.Exit(FAILED)


def _machine() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}"
    right = system == "Linux x86_64"
    yield Finding("machine", system, "" if right else "The twin's Triton and Envoy run on x86-64 Linux.", needed=True)
    version = platform.python_version()
    known = sys.version_info[:2] in _PYTHON
    yield Finding("Python", version, "" if known else "Make the environment with Python 3.11 or 3.12.", needed=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    small = f"The twin with the example takes about {_MEMORY_GIB} GiB." if memory < _MEMORY_GIB else ""
    yield Finding("memory", f"{memory:.0f} GiB", small)
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    full = f"The twin with the example takes about {_DISK_GIB} GiB." if free < _DISK_GIB else ""
    yield Finding("disk", f"{free:.0f} GiB free", full)


def _environment() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        mend = f"pip install 'spillway[{extra}]'" if absent else ""
        yield Finding(f"extra {extra}", f"no {', '.join(absent)}" if absent else "installed", mend, needed=True)
    from spillway.twin.tools import missing_tools

    missing = missing_tools()
    state = f"{len(missing)} missing" if missing else "found"
    yield Finding("Triton, NumPy 1, Envoy, Redis", state, " ".join(missing), needed=True)


def _programs() -> Iterator[Finding]:
    from stacks.runtime_image import BUILDERS

    for name, (purpose, source) in _PROGRAMS.items():
        path = shutil.which(name)
        yield Finding(name, path or f"not on PATH: for {purpose}", "" if path else f"Get it {source}.")
    builder = next((name for name in BUILDERS if shutil.which(name)), "")
    mend = "" if builder else f"Get one of {', '.join(BUILDERS)}."
    yield Finding("image builder", builder or "none on PATH: for `make image`", mend)


def _project() -> Finding:
    from spillway.cli.stack import enclosing_project
    from spillway.twin.deployer.project import read_project

    own = enclosing_project()
    if own is None:
        return Finding("project", "none around this folder", "`spillway init NAME` begins one here.")
    return Finding("project", f"{own}: {', '.join(read_project(own).stacks())}")


def _cluster(stack_name: str) -> Iterator[Finding]:
    from spillway.cli.stack import find_stack

    stack = find_stack(stack_name)
    for one in stack.taken():
        yield Finding(f"AWS account: {one.what}", one.found, one.mend, needed=one.certain)
    unmet = stack.unmet()
    for one in unmet:
        yield Finding(f"cluster: {one.what}", one.found, one.mend, needed=one.certain)
    if not unmet:
        yield Finding("cluster", "nothing is missing that the stack does not bring itself")


def _text(found: list[Finding]) -> Iterator[object]:
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "state", "found", "how to get it")
    colours = {"ok": "green", "optional": "yellow", "missing": "red"}
    for one in found:
        table.add_row(Text(one.what), Text(one.state, colours[one.state]), Text(one.detail), Text(one.mend))
    yield table
    missing = sum(one.state == "missing" for one in found)
    yield f"{missing} missing." if missing else "Nothing is missing that is needed."
