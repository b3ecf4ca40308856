"""Exit codes and messages: every failure is one clear text on stderr; a traceback only for those who ask.

0: done. 1: what was asked for failed. 2: usage or configuration. 130: interrupted.
"""

from __future__ import annotations

import os
import platform
import tempfile
import traceback
from pathlib import Path
from typing import IO, Any, Final

import click

from spillway import __version__

FAILED: Final = 1
WRONG_CONFIG: Final = 2
INTERRUPTED: Final = 130
_EXIT_CODES: Final = {
    "ClusterAccessError": FAILED,
    "ConfigError": WRONG_CONFIG,
    "DeployError": FAILED,
    "DeployerError": FAILED,
    "DrillError": WRONG_CONFIG,
    "EngineSettingsError": WRONG_CONFIG,
    "InterruptedUpError": INTERRUPTED,
    "ModelConfigError": WRONG_CONFIG,
    "NoPlanError": FAILED,
    "PackageError": FAILED,
    "PlannerError": WRONG_CONFIG,
    "PortError": WRONG_CONFIG,
    "PriceError": WRONG_CONFIG,
    "PriceListError": FAILED,
    "RegistryConfigError": WRONG_CONFIG,
    "StoreConfigError": WRONG_CONFIG,
    "ToolMissingError": WRONG_CONFIG,
    "TwinError": FAILED,
}
"""Of Spillway's own errors and what is derived from them. By name: no room is imported to tell what failed in it."""
_CLOUDS: Final = ("botocore", "boto3", "azure", "kubernetes")
_DETAILS: Final = "(--debug shows where)"
_ROOT: Final = Path(__file__).parents[2]
_ROOMS: Final = ("components", "model_packaging", "policies", "spillway", "stacks")


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
    exit_code = _exit_code(error)
    if exit_code is None:
        return CommandError(_refused(error) or _unexpected(error))
    hint = "\n(--debug shows the program's traceback)" if getattr(error, "details", "") else ""
    return CommandError(f"{error}{hint}", exit_code)


def _refused(error: BaseException) -> str | None:
    """What the machine, a server or a cloud said no to: nothing of ours is at fault."""
    if isinstance(error, OSError) and error.strerror:
        return f"The machine says: {error.strerror}{f': {error.filename}' if error.filename else ''}. {_DETAILS}"
    if type(error).__module__.partition(".")[0] in _CLOUDS:
        return f"The cloud's library says: {error}. Look at your credentials and the network. {_DETAILS}"
    return None


def _unexpected(error: BaseException) -> str:
    """What happened, where, where more of it stands, and what to do with it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_ROOT) and ".venv" not in frame.filename]
    at = (own or list(frames))[-1:]
    where = "".join(f", in {Path(frame.filename).name} line {frame.lineno} ({frame.name})" for frame in at)
    text = "".join(traceback.format_exception(error))
    handle, name = tempfile.mkstemp(prefix="spillway-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"{platform.platform()}, Python {platform.python_version()}, Spillway {__version__}\n{text}")
    return (
        f"A fault of Spillway's own: {type(error).__name__}: {error}{where}. What was asked for is not done.\n"
        f"Details: {name}. Read it for names that are nobody's business, then report it to whoever gave you Spillway, "
        "with the command. Run it again with --debug to see the traceback here."
    )


def _exit_code(error: BaseException) -> int | None:
    """``None`` for an error that is none of Spillway's."""
    own = (kind.__name__ for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in _ROOMS)
    return next((_EXIT_CODES[name] for name in own if name in _EXIT_CODES), None)
