"""Puts a task's files in place, then becomes another command: the first container of the standby gateway's task.

``python -m spillway.runtime.gateway.task_files COMMAND ...``. Started as root, it gives the files to the owner that the
environment names and gives up root before the command. What the environment holds: ``spillway.contracts.task_files``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from spillway.contracts.task_files import (
    FILES_VARIABLE,
    FOLDERS_VARIABLE,
    OWNER_VARIABLE,
    SECRETS_VARIABLE,
    unpack,
)


def place(environment: Mapping[str, str]) -> None:
    """Write every file, readable by its owner only, and hand over the folders."""
    owner = int(environment[OWNER_VARIABLE])
    for path, text in unpack(environment[FILES_VARIABLE]).items():
        _write(Path(path), text, owner)
    for path, variable in json.loads(environment.get(SECRETS_VARIABLE, "{}")).items():
        _write(Path(path), environment[variable], owner)
    for folder in json.loads(environment.get(FOLDERS_VARIABLE, "[]")):
        Path(folder).mkdir(parents=True, exist_ok=True)
        _give(Path(folder), owner, 0o700)


def _write(path: Path, text: str, owner: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    _give(path, owner, 0o400)


def _give(path: Path, owner: int, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, owner, owner)


def main() -> None:
    place(os.environ)
    secrets = json.loads(os.environ.get(SECRETS_VARIABLE, "{}")).values()
    environment = {name: value for name, value in os.environ.items() if name not in secrets}
    if os.geteuid() == 0:
        owner = int(os.environ[OWNER_VARIABLE])
        os.setgroups([])
        os.setgid(owner)
        os.setuid(owner)
    os.execvpe(sys.argv[1], sys.argv[1:], environment)


if __name__ == "__main__":
    main()
