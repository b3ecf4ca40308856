"""Pages whose shell blocks are run as they are written.

A block says by its fence what becomes of it: ``sh run`` (or ``console run``, whose commands follow ``$``) is run by a
test, ``sh needs=minutes`` by one of the soak set, ``sh needs=account`` by none, since it needs what no test has.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from spillway.cli.main import cli
from tests.support.paths import ROOT

LONG: Final = "needs=minutes"
NEEDS: Final = {
    "account": "accounts in AWS or Azure, or a cluster",
    "gpu": "a GPU of a certain kind",
    "builder": "docker, podman or buildah, and a registry",
    "dnsutils": "dig",
    "browser": "somebody who looks",
    "setup": "a machine without an environment, as CI begins; its commands are run by the main job's tests",
    "minutes": "more minutes than a test of every run has",
}
SHELL: Final = ("sh", "console", "bash", "shell")
_FENCE: Final = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPERATORS: Final = re.compile(r"[|><&$();]|^\w+=")


@dataclass(frozen=True)
class Block:
    """``mark``: what its fence says after the language."""

    language: str
    mark: str
    text: str

    @property
    def commands(self) -> list[str]:
        """One each, without comments and prompts."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
        return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(language, mark.strip(), text) for language, mark, text in found]


def run_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in SHELL and block.mark == "run"]


def long_blocks(page: Path) -> list[Block]:
    """Those of the soak set."""
    return [block for block in blocks(page) if block.language in SHELL and block.mark == LONG]


def block(page: Path, begins: str) -> Block:
    """The one whose first command begins so."""
    (found,) = (one for one in (*run_blocks(page), *long_blocks(page)) if one.commands[0].startswith(begins))
    return found


def run(found: Block, folder: Path, replaced: Mapping[str, str] | None = None) -> str:
    """What its commands print, one after the other, in ``folder``. ``replaced``: placeholders of the page.

    Plain commands of Spillway's run in this process, whose imports are there; all else in a shell.
    """
    said = ""
    for command in found.commands:
        for placeholder, value in (replaced or {}).items():
            command = command.replace(placeholder, value)
        plain = command.startswith("spillway ") and not _OPERATORS.search(command)
        said += _in_process(command, folder) if plain else shell(command, folder)
    return said


def shell(commands: str, folder: Path, timeout_s: float = 500) -> str:
    """What they print, in one shell that ends with the first that fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": f"{folder}:{ROOT}"}
    variables.pop("PULUMI_CONFIG_PASSPHRASE", None)
    asked = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(
        asked, cwd=folder, env=variables, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, commands + done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _in_process(command: str, folder: Path) -> str:
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = CliRunner(env={"PULUMI_CONFIG_PASSPHRASE": None}).invoke(cli, shlex.split(command, comments=True)[1:])
    finally:
        os.chdir(before)
    assert done.exit_code == 0, command + done.output
    return done.output
