"""The first container of the standby task, run for real in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from spillway.contracts.task_files import FILES_VARIABLE, FOLDERS_VARIABLE, OWNER_VARIABLE, SECRETS_VARIABLE, pack


def test_files_are_in_place_before_the_command_which_does_not_see_the_secrets(tmp_path: Path) -> None:
    config, key, folder = tmp_path / "etc" / "routing.json", tmp_path / "secrets" / "key", tmp_path / "run"
    texts = f"open({str(config)!r}).read(), open({str(key)!r}).read()"
    show = f"import os; print({texts}, 'SECRET_0' in os.environ, os.getuid())"
    tmp_path.chmod(0o755)
    environment = {
        **os.environ,
        FILES_VARIABLE: pack({str(config): "the table"}),
        SECRETS_VARIABLE: json.dumps({str(key): "SECRET_0"}),
        FOLDERS_VARIABLE: json.dumps([str(folder)]),
        OWNER_VARIABLE: str(os.getuid()),
        "SECRET_0": "the key",
    }
    done = subprocess.run(
        [sys.executable, "-m", "spillway.runtime.gateway.task_files", sys.executable, "-c", show],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["the", "table", "the", "key", "False", str(os.getuid())]
    assert config.stat().st_mode & 0o777 == 0o400
    assert folder.stat().st_mode & 0o777 == 0o700
