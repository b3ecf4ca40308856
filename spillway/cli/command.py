"""What every command has: --json, --debug, and failures that are one message and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from spillway.cli.errors import translate

if TYPE_CHECKING:
    from rich.console import RenderableType


def command_of(group: click.Group, name: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """Decorator: a command of ``group`` with --json and --debug; whatever it raises ends as a message."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def guarded(debug: bool, **options: Any) -> None:
            try:
                function(**options)
            except (click.exceptions.Exit, BrokenPipeError):
                raise
            except (Exception, KeyboardInterrupt) as error:
                raise translate(error, debug) from None

        with_debug = click.option("--debug", is_flag=True, help="Show the traceback of a failure.")(guarded)
        with_json = click.option("--json", "as_json", is_flag=True, help="Only JSON on stdout.")(with_debug)
        return group.command(name)(with_json)

    return decorate


def tell(as_json: bool, value: Any, text: Callable[[], Any]) -> None:
    """One result, for programs or for people. ``text`` makes the parts that people see."""
    from spillway.cli.console import show, show_json

    if as_json:
        show_json(value)
        return
    parts: list[RenderableType] = list(text())
    show(*parts)
