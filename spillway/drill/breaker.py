"""Breaks parts of a site of one's own: by a program, which knows how to."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Final

_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Breaker:
    """Calls ``program GROUP ACTION [OPTION=VALUE ...]`` for each order, and waits for it."""

    program: str

    def fault(self, group: str, action: str, **options: float) -> None:
        """Raises ``RuntimeError`` with what the program said where it cannot be run, or ends with other than 0."""
        given = (f"{name}={value:g}" for name, value in options.items())
        try:
            done = subprocess.run(
                [self.program, group, action, *given], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{self.program}: {error}") from None
        if done.returncode:
            raise RuntimeError(f"{self.program} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
