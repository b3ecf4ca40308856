"""What has to hold beside what was found, with and without the feature: rows of one table, one file, one exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """``held``: ``None`` where the run is void. ``cpu``: how busy the machine was, where that decides."""

    name: str
    goal: str
    found: str
    without: str
    held: bool | None
    cpu: float | None = None
    more: dict[str, Any] = field(default_factory=dict)


def tell(title: str, rows: Sequence[Row], path: Path | None) -> int:
    """Prints them, writes them to ``path``, and returns the exit code: 1 where one did not hold."""
    made = Table(title=title, show_lines=True)
    for column in ("row", "has to hold", "found", "without", "CPU", "verdict"):
        made.add_column(column)
    for row in rows:
        word = {True: "held", False: "NOT HELD", None: "void"}[row.held]
        made.add_row(row.name, row.goal, row.found, row.without, "" if row.cpu is None else f"{row.cpu:.0%}", word)
    Console().print(made)
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 1 if any(row.held is False for row in rows) else 0
