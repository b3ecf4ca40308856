"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spillway.cli.errors import CommandError


class Output(click.Path):
    """A file, or a folder, that a command is to write: looked at before the work, which may be long."""

    def __init__(self, *, folder: bool = False) -> None:
        super().__init__(path_type=Path, file_okay=not folder, dir_okay=folder, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if why := unwritable(Path(os.fsdecode(path))):
            self.fail(why, param, ctx)
        return path


def unwritable(path: Path) -> str:
    """Why nothing could be written there; empty where it can."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there != path and not there.is_dir():
        return f"{path} cannot be written: {there} is no folder."
    return "" if os.access(there, os.W_OK) else f"{path} cannot be written: {there} may not be changed."


def stack_option(*, required: bool = False, needed: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``-s`` is the stack: ``local`` where none is given, unless it is ``required``, or not ``needed`` at all."""
    default: dict[str, Any] = {"required": True} if required else {"default": "local", "show_default": True}
    if not needed:
        default = {"default": None}
    return click.option(
        "-s",
        "--stack",
        "stack_name",
        envvar="SPILLWAY_STACK",
        show_envvar=True,
        shell_complete=_stacks,
        help="The stack.",
        **default,
    )


def _stacks(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The stacks of the project, as far as it can be read."""
    from spillway.cli.stack import project_root
    from spillway.twin.deployer.api import ConfigError
    from spillway.twin.deployer.project import read_project

    try:
        return [name for name in read_project(project_root()).stacks() if name.startswith(begun)]
    except (CommandError, ConfigError, OSError):
        return []
