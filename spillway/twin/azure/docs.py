"""The generated part of the reference page: ``python -m spillway.twin.azure.docs docs/reference/twin-azure.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from spillway.twin.azure import wire
from spillway.twin.azure.rows import BLOB, ROWS

BEGIN, END = "<!-- rows: generated -->", "<!-- end of rows -->"


def table() -> str:
    """One line for each resource type."""
    lines = [
        "| type | API version | body checked with | the service adds | remark |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in sorted(ROWS, key=lambda row: row.type):
        model = f"`azure.mgmt.{row.model}`" if row.model else "not checked, only recorded"
        added = ", ".join(f"`{key}`" for key in row.computed) or ""
        version = wire.resource(row)["apiVersion"]
        lines.append(f"| `{row.token}` | {version} | {model} | {added} | {row.note} |")
    lines.append(f"| `{BLOB}` | | arguments only | `url`, `contentMd5` | the bytes are kept and served |")
    return "\n".join(lines)


def updated(page: str) -> str:
    """The page with a current table."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text()))
