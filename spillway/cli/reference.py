"""The generated part of the reference page ``cli.md``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from spillway.cli.main import cli
from spillway.contracts.schema_tables import one_line, table


def commands() -> str:
    """Every command: how it is called, what it does, its options."""
    return "\n\n".join(part for part in _parts() if part)


def commands_below(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command and group below ``group`` with its full name, a group before its commands."""
    for name, command in sorted(group.commands.items()):
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from commands_below(command, f"{prefix}{name} ")


def _parts() -> Iterator[str]:
    yield _paragraphs(cli)
    for name, command in commands_below(cli):
        context = click.Context(command, info_name=f"spillway {name}")
        yield f"## `spillway {name}`"
        yield f"`{command.get_usage(context).removeprefix('Usage: ')}`"
        yield _paragraphs(command)
        if not isinstance(command, click.Group):
            yield _options(command, context)


def _paragraphs(command: click.Command) -> str:
    return "\n\n".join(" ".join(text.split()) for text in (command.help or "").split("\n\n"))


def _options(command: click.Command, context: click.Context) -> str:
    records = (p.get_help_record(context) for p in command.get_params(context) if "--help" not in p.opts)
    return table(("option", "what it does"), ((f"`{one_line(r[0])}`", one_line(r[1])) for r in records if r))
