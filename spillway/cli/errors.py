"""Exit codes and messages: every failure is one clear text on stderr; a traceback only for those who ask.

0: done. 1: what was asked for failed. 2: usage or configuration. 130: interrupted.
"""

from __future__ import annotations

import traceback
from typing import IO, Any, Final

import click

FAILED: Final = 1
WRONG_CONFIG: Final = 2
INTERRUPTED: Final = 130
_PACKAGING_CONFIG: Final = ("ModelConfigError", "RegistryConfigError")
"""By name: the packager is not imported to tell what failed."""


class CommandError(click.ClickException):
    """Ends a command with ``exit_code``."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # pyright: ignore[reportAttributeAccessIssue]

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.message}", err=True)


def translate(error: BaseException, debug: bool) -> click.ClickException:
    """What a command ends with, for whatever was raised in it."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, click.ClickException):
        return error
    if isinstance(error, KeyboardInterrupt):
        return CommandError("Interrupted.", INTERRUPTED)
    if isinstance(error, ModuleNotFoundError):
        missing = f"{error.name} is not installed. The README's set-up installs everything; by hand: "
        return CommandError(f"{missing}pip install -e '.[package,twin]'", WRONG_CONFIG)
    known = _known(error)
    if known is not None:
        return known
    return CommandError(f"Unexpected {type(error).__name__}: {error} (--debug shows where)")


def _known(error: BaseException) -> CommandError | None:
    from spillway.contracts.manifest import PackageError
    from spillway.drill.target import DrillError
    from spillway.engine.api import ConfigError, EngineError, InterruptedUpError
    from spillway.twin.handle import TwinError
    from spillway.twin.tools import ToolMissingError

    if isinstance(error, InterruptedUpError):
        return CommandError(str(error), INTERRUPTED)
    if isinstance(error, EngineError):
        hint = "\n(--debug shows the program's traceback)" if error.details else ""
        return CommandError(f"{error}{hint}", WRONG_CONFIG if isinstance(error, ConfigError) else FAILED)
    if isinstance(error, DrillError | ToolMissingError) or type(error).__name__ in _PACKAGING_CONFIG:
        return CommandError(str(error), WRONG_CONFIG)
    if isinstance(error, TwinError | PackageError):
        return CommandError(str(error))
    return None
