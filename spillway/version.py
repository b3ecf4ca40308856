"""The version, with the commit where this is a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

from spillway import __version__

_ROOT = Path(__file__).resolve().parent.parent


def version() -> str:
    """``0.1.0``, or ``0.1.0 (commit 1a2b3c4)``."""
    if not (_ROOT / ".git").exists():
        return __version__
    asked = ["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return f"{__version__} (commit {done.stdout.strip()})" if done.returncode == 0 else __version__
