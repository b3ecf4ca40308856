"""Programs built from the Go module proxy, once a version, into the user's cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


class BuildError(Exception):
    """The program cannot be built. The message says why, and what to do."""


def go_build(target: Path, package: str, go_mod: str, ldflags: str, *, gently: bool = False) -> None:
    """Put the program of ``package`` at ``target``, whole or not at all. Raises :class:`BuildError`.

    ``go_mod``: of a module that requires it. ``gently``: with the lowest priority, one package at a time.
    """
    go = shutil.which("go")
    if go is None:
        raise BuildError(f"{target.name} is built with Go, and there is no `go` on PATH: install Go 1.26 or newer")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        (Path(scratch) / "go.mod").write_text(go_mod)
        # "mod": what the module needs is looked up, and checked against Go's checksum database.
        command = ["nice", "-n", "19"] if gently else []
        command += [go, "build", "-mod=mod", *(["-p", "1"] if gently else []), "-ldflags", ldflags]
        command += ["-o", f"bin/{target.name}", package]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[-10:])
            raise BuildError(f"`{' '.join(command)}` ended with {done.returncode}:\n{said}")
        (Path(scratch) / "bin" / target.name).replace(target)


def run(folder: Path, build: Callable[[], None]) -> int:
    """A script's work: build, then print the folder; the exit code."""
    try:
        build()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(folder)
    return 0
