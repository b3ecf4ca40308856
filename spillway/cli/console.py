"""What a command tells while it works, on stderr: a line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.status import Status

    from spillway.twin.deployer.api import Event

_WIDTH: Final = 132
"""Columns of a table that goes to a file or a pipe."""
_SILENCE_S: Final = 15.0
"""Between two lines of progress in a file or a pipe."""


class Reporter:
    """Progress. Safe for threads."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._said = time.monotonic()

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """``text`` while it goes on, and how long it took at the end."""
        begun = time.monotonic()
        if not self._console.is_terminal:
            self.say(f"{text} …")
        with self._console.status(text) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None
        self.say(f"{text}: {time.monotonic() - begun:.1f} s")

    def now(self, text: str) -> None:
        """Replace the moving line's text; where no line moves, say it now and then."""
        if self._console.is_terminal:
            if self._status:
                self._status.update(text)
        elif time.monotonic() - self._said > _SILENCE_S:
            self.say(text)

    def say(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.print(text, markup=False)


class DeploymentProgress:
    """Turns a deployer's events into progress, between phases of the reporter's own."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._phase = ""
        self._begun = time.monotonic()
        self._done = 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind == "phase":
                self._end_phase()
                self._phase, self._done, self._begun = event.message, 0, time.monotonic()
                self._reporter.now(event.message)
            elif event.kind == "log":
                self._reporter.say(event.message)
            elif event.kind == "failed":
                self._reporter.say(f"failed: {event.op} {event.type} {event.name}")
            else:
                self._done += event.kind == "done"
                self._reporter.now(f"{self._phase}: {self._done} done, {event.op} {event.type} {event.name}")

    def phase(self, text: str) -> AbstractContextManager[None]:
        return self._reporter.phase(text)

    def close(self) -> None:
        with self._lock:
            self._end_phase()
            self._phase = ""

    def _end_phase(self) -> None:
        if self._phase:
            done = f", {self._done} resources" if self._done else ""
            self._reporter.say(f"{self._phase}: {time.monotonic() - self._begun:.1f} s{done}")


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def show(*parts: RenderableType) -> None:
    """Results, on stdout. A table that is too wide folds: what is cut off cannot be read anywhere."""
    from rich.console import Console
    from rich.table import Table

    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(highlight=False, width=None if told else _WIDTH)
    for part in parts:
        for column in part.columns if isinstance(part, Table) else ():
            column.overflow = "fold"
        if isinstance(part, str):
            # A line that is wrapped cannot be copied.
            console.print(part, markup=False, soft_wrap=True)
        else:
            console.print(part)
