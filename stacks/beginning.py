"""The first stack file of a project, and what an empty folder needs around it.

A template is a file of ``stacks/templates/``: a new one is a file there. Everything that a user has to bring is a
placeholder, so that nothing has to be searched for in the file. ``templates/`` is the same for ``pulumi new``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Final

from spillway.contracts.names import SECRETS_NAMESPACE
from spillway.contracts.pulumi_yaml import config_text, dump, load
from spillway.version import __version__
from stacks.rules.secrets import caller_keys, required_secrets
from stacks.settings import StackSettings
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
description: {description}
main: program/
stackConfigDir: stacks/
runtime: python
"""
_DESCRIPTION: Final = '"Hybrid GPU serving: private cluster, burst sites, failover DNS and cost alarms."'
_NEW_STACK: Final = "dev"
"""What ``pulumi new`` calls a stack unless it is told otherwise."""
_TEMPLATE: Final = """template:
  displayName: Spillway, {name}
  description: {description}
  quickstart: |
    Next, without an account:
      spillway package
      spillway check -s {stack}
      spillway up -s {stack}
    Made up in stacks/Pulumi.{stack}.yaml, to be replaced before you deploy: {made_up}
    Then, with your accounts:
      spillway deploy -s {stack} --dry-run
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

    Raises :class:`StackConfigError` where a value that was given, or the stack's name, cannot be deployed.
    """
    filled = Template(_text(template)).substitute({**MADE_UP, **given, "version": version})
    settings = _settings(filled, stack)
    files = {f"Pulumi.{stack}.yaml": filled}
    if project is not None:
        described = _PROJECT.format(name=re.sub(r"[^A-Za-z0-9_.-]", "-", project), description=_DESCRIPTION)
        files = _around(described, stack, filled)
    made_up = tuple(sorted(_wanted(template) - given.keys()))
    return Beginning(files, made_up, tuple(required_secrets(settings)), frozenset(caller_keys(settings)))


def pulumi_template(template: str, version: str = __version__) -> dict[str, str]:
    """The files of a folder that ``pulumi new`` takes: it asks for plain values of the stack file that nobody else can
    know, and for the secrets. https://www.pulumi.com/docs/iac/guides/building-extending/templates: ``template``."""
    text = _text(template)
    filled = Template(text).substitute({**MADE_UP, "version": version})
    asked: dict[str, dict[str, str | bool]] = {
        f"{SECRETS_NAMESPACE}:{secret}": {"description": f"The stack's secret {secret}", "secret": True}
        for secret in required_secrets(_settings(filled, _NEW_STACK))
    }
    for key, value in load(text)["config"].items():
        if isinstance(value, str) and (name := value.removeprefix("$")) in MADE_UP:
            said = StackSettings.model_fields[key.partition(":")[2]].description or ""
            asked[key] = {"description": said, "default": MADE_UP[name]}
    head = _TEMPLATE.format(
        name=template,
        description=filled.splitlines()[0].removeprefix("# ").partition(" Every key")[0],
        stack=_NEW_STACK,
        made_up=", ".join(name.replace("_", "-") for name in sorted(_wanted(template))),
    )
    project = _PROJECT.format(name="${PROJECT}", description='"${DESCRIPTION}"')
    return _around(project + head + indent(dump({"config": asked}), "  "), _NEW_STACK, filled)


def _text(template: str) -> str:
    return (_FOLDER / f"{template}.yaml").read_text(encoding="utf-8")


def _wanted(template: str) -> set[str]:
    return set(Template(_text(template)).get_identifiers()) & MADE_UP.keys()


def _settings(filled: str, stack: str) -> StackSettings:
    config = {key: config_text(value) for key, value in load(filled)["config"].items()}
    return read_settings(config, stack=stack)


def _around(project: str, stack: str, filled: str) -> dict[str, str]:
    return {"Pulumi.yaml": project, "program/__main__.py": _PROGRAM, f"stacks/Pulumi.{stack}.yaml": filled}
