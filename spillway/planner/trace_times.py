"""Times of a trace in seconds: dates with and without zones, and counts whose unit their size tells."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

_JITTER_S: Final = 60.0
"""Rows may be so much out of order within the hour that comes twice in autumn."""
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp()


class TimeUnit(StrEnum):
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


PER_SECOND: Final = {
    TimeUnit.SECONDS: 1.0,
    TimeUnit.MILLISECONDS: 1e3,
    TimeUnit.MICROSECONDS: 1e6,
    TimeUnit.NANOSECONDS: 1e9,
}


class TimeError(ValueError):
    """What is wrong with a time; the caller adds the place."""


def zone_of(name: str) -> ZoneInfo:
    """Raises :class:`TimeError` for an unknown zone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise TimeError(f"time zone {name!r} is unknown; give a name such as Europe/Berlin or UTC") from None


class Clock:
    """Reads one trace's times, one after the other.

    ``unit`` of plain numbers; ``None``: told by the first, which lies between the years 2000 and 2100 in one unit
    alone, or counts seconds from a begin. ``zone`` of dates that name none.
    """

    def __init__(self, unit: TimeUnit | None = None, zone: tzinfo | None = None) -> None:
        self.unit = unit
        self.told = unit is not None
        """The caller knows the unit."""
        self.zone = zone
        self.without_zone = 0
        self.with_zone = 0
        self.since_epoch = False
        self._last = -math.inf

    def seconds(self, given: object) -> float:
        """Since 1970 for a date, else as it counts. Raises :class:`TimeError`."""
        try:
            value = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
        except ValueError:
            self._last = self._date(str(given).strip())
            return self._last
        except (TypeError, OverflowError):
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise TimeError(f"time {given}; give a number of 0 or more, or an ISO 8601 date")
        if self.unit is None:
            self.unit, self.since_epoch = _told_by(value)
        return value / PER_SECOND[self.unit]

    def _date(self, text: str) -> float:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise TimeError(f"{text!r} is neither a number nor an ISO 8601 date") from None
        if when.tzinfo is None:
            self.without_zone += 1
            when = when.replace(tzinfo=self.zone or UTC)
            # Of the hour that comes twice in autumn, the order of the rows tells which it is.
            if when.timestamp() < self._last - _JITTER_S:
                when = when.replace(fold=1)
        else:
            self.with_zone += 1
        seconds = when.timestamp()
        if not _EARLIEST <= seconds < _LATEST:
            raise TimeError(f"{text!r} is not between the years 2000 and 2100")
        return seconds


def _told_by(value: float) -> tuple[TimeUnit, bool]:
    """The unit, and whether it counts from 1970."""
    for unit, per_second in PER_SECOND.items():
        if _EARLIEST <= value / per_second < _LATEST:
            return unit, True
    if value >= _LATEST:
        raise TimeError(f"time {value:.0f} is no date of this century in any unit; say what it counts with --time-unit")
    return TimeUnit.SECONDS, False
