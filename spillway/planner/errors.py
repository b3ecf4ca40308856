"""What can be wrong with what the planner is given."""

from __future__ import annotations


class PlannerError(ValueError):
    """Bad input: a trace, a price, a rate or an objective. The message says what was given and how to mend it."""


class TraceError(PlannerError):
    """A trace that cannot be read; the message names the file and the first line at fault."""
