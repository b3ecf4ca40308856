"""The twin's minute: how many real seconds one takes, for what works by the minute (schedules, alarms' periods).

Sixty, unless ``SPILLWAY_TWIN_MINUTE_S`` says otherwise when the twin starts. Only waiting is shortened: what functions
and gateways do takes the time that it takes.
"""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "SPILLWAY_TWIN_MINUTE_S"


def real_seconds(twin_seconds: float) -> float:
    """Raises ``ValueError`` when the variable holds no number above 0."""
    minute = float(os.environ.get(VARIABLE, "60"))
    if not 0 < minute <= 60:
        raise ValueError(f"{VARIABLE} is {minute:g}; give the real seconds of a twin minute, above 0 and up to 60")
    return twin_seconds * minute / 60
