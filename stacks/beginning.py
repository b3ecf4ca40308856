"""The first stack file of a project, and what an empty folder needs around it.

A template is a file of ``stacks/templates/``: a new one is a file there. Everything that a user has to bring is a
placeholder, so that nothing has to be searched for in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from spillway.contracts.pulumi_yaml import config_text, load
from stacks.rules.secrets import caller_keys, required_secrets
from stacks.stack_file import read_settings

_FOLDER: Final = Path(__file__).parent / "templates"
MADE_UP: Final[Mapping[str, str]] = {
    "owner": "platform",
    "aws_account": "123456789012",
    "aws_region": "us-east-1",
    "azure_subscription": "00000000-0000-4000-8000-000000000001",
    "azure_tenant": "00000000-0000-4000-8000-000000000002",
    "azure_location": "eastus",
    "zone": "example.com",
    "zone_id": "Z0123456789ABCDEFGHIJ",
    "registry": "registry.example.com",
    "package": ".spillway/packages/minilm/current",
}
"""What stands for a value that nobody gave: good enough to plan with, and for the twin."""
_PROJECT: Final = """name: {name}
description: "Hybrid GPU serving: private cluster, burst sites, failover DNS and cost alarms."
main: program/
stackConfigDir: stacks/
runtime: python
"""
_PROGRAM: Final = '''"""Spillway's program; what it deploys is in the stack files."""

import stacks.__main__  # noqa: F401
'''


@dataclass(frozen=True)
class Beginning:
    """Files by path from the project's folder, and what is left to do. ``made_up``: values that nobody gave.
    ``secrets``: names of the secrets that the stack wants; ``drawn``: those of them that may be any text."""

    files: Mapping[str, str]
    made_up: tuple[str, ...]
    secrets: tuple[str, ...]
    drawn: frozenset[str]


def templates() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def begin(template: str, stack: str, given: Mapping[str, str], version: str, project: str | None) -> Beginning:
    """What to write. ``given``: values by the names of :data:`MADE_UP`. ``project``: the name of a project that has to
    be begun, too; ``None`` beside stack files that are there, whose folder the caller knows.

    Raises :class:`StackConfigError` where a value that was given cannot be deployed.
    """
    text = (_FOLDER / f"{template}.yaml").read_text(encoding="utf-8")
    wanted = set(Template(text).get_identifiers()) & MADE_UP.keys()
    filled = Template(text).substitute({**MADE_UP, **given, "version": version})
    config = load(filled)["config"]
    settings = read_settings({key: config_text(value) for key, value in config.items()})
    files = {f"Pulumi.{stack}.yaml": filled}
    if project is not None:
        files = {
            "Pulumi.yaml": _PROJECT.format(name=re.sub(r"[^A-Za-z0-9_.-]", "-", project)),
            "program/__main__.py": _PROGRAM,
            f"stacks/Pulumi.{stack}.yaml": filled,
        }
    made_up = tuple(sorted(wanted - given.keys()))
    return Beginning(files, made_up, tuple(required_secrets(settings)), frozenset(caller_keys(settings)))
