"""Calendar months, as bills and quotas count them. Standard library only: the functions carry this module."""

from __future__ import annotations

from datetime import datetime, timedelta


def month_start(at: datetime) -> datetime:
    """When the month of ``at`` began, in its own time zone."""
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(at: datetime) -> datetime:
    """When the month after that of ``at`` begins."""
    return month_start(month_start(at) + timedelta(days=32))
