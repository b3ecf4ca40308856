"""``logs``: what the twin's processes wrote, each line with the process that wrote it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click

from spillway.cli.command import command_of
from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.cli.options import stack_option

_PAUSE_S: Final = 0.2
_group = click.Group()


@command_of(_group)
@click.argument("name", required=False)
@stack_option()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Last lines of each.")
def logs(stack_name: str, name: str | None, follow: bool, lines: int, as_json: bool) -> None:
    """Show what the twin's processes wrote; NAME: a site, a gateway, or one process of `status --processes`."""
    from spillway.cli.console import show_json
    from spillway.cli.stack import find_stack

    if follow and as_json:
        raise click.UsageError("--follow goes with no --json.")
    stack = find_stack(stack_name)
    there = sorted((stack.state_dir / "logs").glob("*.log"))
    if not there:
        raise stack.no_twin()
    files = _chosen(there, name)
    opened = {file.stem: file.open("rb") for file in files}
    told = [(process, line) for process, stream in opened.items() for line in _last(stream, lines)]
    if as_json:
        show_json({"stack": stack_name, "lines": [{"process": process, "line": line} for process, line in told]})
        return
    width = max(map(len, opened))
    for process, line in told:
        click.echo(f"{process:{width}} | {line}")
    while follow:
        for process, stream in opened.items():
            for line in stream:
                click.echo(f"{process:{width}} | {_text(line)}")
        time.sleep(_PAUSE_S)


def _chosen(there: list[Path], name: str | None) -> list[Path]:
    chosen = [file for file in there if name is None or file.stem == name or file.stem.startswith(f"{name}-")]
    if not chosen:
        raise CommandError(f"NAME {name!r}: there are {', '.join(file.stem for file in there)}", WRONG_CONFIG)
    return chosen


def _last(stream: BinaryIO, count: int) -> Iterator[str]:
    return map(_text, deque(stream, maxlen=count))


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n")
