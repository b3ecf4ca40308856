"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def stack_option(*, required: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``-s`` is the stack: ``local`` where none is given, unless it is ``required``."""
    default: dict[str, Any] = {"required": True} if required else {"default": "local", "show_default": True}
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
    except (ConfigError, OSError):
        return []
