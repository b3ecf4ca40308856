"""``spillway package``: make a package, and point the path that stack files name at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spillway.cli.errors import WRONG_CONFIG, CommandError

if TYPE_CHECKING:
    from model_packaging.build import PackageResult
    from spillway.cli.console import Reporter

EXAMPLE: Final = Path("model_packaging", "examples", "minilm", "model.yaml")
CURRENT: Final = "current"


def make_package(model: Path, out: Path, reporter: Reporter) -> tuple[PackageResult, Path, Path]:
    """The result, the package's folder, and the link that leads to it."""
    from model_packaging.build import package
    from model_packaging.config import load_config

    config = load_config(model)
    with reporter.phase(f"package of {config.name}"):
        result = package(config, out, reporter.say)
    path = result.path.resolve()
    return result, path, point_at(path)


def point_at(package: Path) -> Path:
    """Make ``current`` beside the package a relative link to it, in one step."""
    link = package.parent / CURRENT
    if link.exists() and not link.is_symlink():
        raise CommandError(f"{link} is no link; move it away, stacks look there for the newest package", WRONG_CONFIG)
    draft = package.parent / f".{CURRENT}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(package.name)
    draft.replace(link)
    return link
