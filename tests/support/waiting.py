"""Waiting for what another process does: by asking it, and no longer than it takes."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable

PAUSE_S = 0.05


def eventually(holds: Callable[[], object], within_s: float = 30.0, what: str = "", pause_s: float = PAUSE_S) -> float:
    """Seconds until ``holds()`` was true. Fails, naming ``what``, when it was not within ``within_s``."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, f"{what or 'it did not hold'}: not within {within_s} s"
        time.sleep(pause_s)
    return time.monotonic() - started


def await_server(process: subprocess.Popen[bytes], url: str) -> None:
    """Until ``url`` answers. Fails when the process ends before; a slow machine may take a minute."""

    def answers() -> bool:
        assert process.poll() is None, f"the server of {url} ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            return False

    eventually(answers, within_s=60, what=f"{url} answers")
