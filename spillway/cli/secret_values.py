"""The secrets of a stack that is begun: asked for, or drawn, and sealed into its file as the Pulumi CLI seals them.

None is ever an argument of a command: those are seen by everybody on the machine, and kept in a shell's history.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import click

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.twin.deployer.crypto import Crypter, given_passphrase

VARIABLE: Final = "SPILLWAY_SECRET_"


def passphrase() -> str:
    """The Pulumi CLI's, or what is typed; empty to set secrets later."""
    given = given_passphrase()
    if given is not None or not sys.stdin.isatty():
        return given or ""
    return _ask("Passphrase for the stack's secrets (empty: set them later)", confirmed=True)


def values(names: Iterable[str], drawn: frozenset[str]) -> dict[str, str]:
    """Of each secret that somebody gives, by its name. ``drawn``: those that are drawn where nobody does.

    A value ``@FILE`` stands for what is in the file. Raises :class:`CommandError` where that cannot be read.
    """
    found = {}
    for name in names:
        value = _content(name, _given(name, name in drawn)) or (secrets.token_urlsafe(24) if name in drawn else "")
        if value:
            found[name] = value
    return found


def sealed(text: str, found: Mapping[str, str], passphrase: str) -> str:
    """A stack file that ends with its config, and these secrets in it."""
    crypter = Crypter.new(passphrase)
    lines = [f"  {SECRETS_NAMESPACE}:{name}:\n    secure: {crypter.encrypt(value)}\n" for name, value in found.items()]
    return f"{text}{''.join(lines)}encryptionsalt: {crypter.salt_state}\n"


def variable(name: str) -> str:
    return VARIABLE + name.upper().replace("-", "_")


def _given(name: str, drawn: bool) -> str:
    value = os.environ.get(variable(name))
    if value is not None or not sys.stdin.isatty():
        return value or ""
    return _ask(f"{name}, or @FILE (empty: {'draw one' if drawn else 'set it later'})")


def _content(name: str, value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name}: {value} cannot be read: {error}", WRONG_CONFIG) from None


def _ask(text: str, *, confirmed: bool = False) -> str:
    return click.prompt(text, default="", show_default=False, hide_input=True, confirmation_prompt=confirmed, err=True)
