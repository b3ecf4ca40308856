"""When and from what a package is made: what the manifest says beside its content."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path
from typing import Final

from spillway.contracts.manifest import CalibrationData, Provenance

_GIT_TIMEOUT_S: Final = 10


def provenance_of(folder: Path, calibration: tuple[CalibrationData, ...] = ()) -> Provenance:
    """``folder``: where model.yaml is. Without git, or outside a checkout, there is no commit to name."""
    commit = _git(folder, "rev-parse", "HEAD") or ""
    return Provenance(
        built_at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        git_commit=commit,
        git_modified=bool(commit and _git(folder, "status", "--porcelain", "--untracked-files=no")),
        calibration=calibration,
    )


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
