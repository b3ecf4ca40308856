"""The generated part of the reference page ``twin-azure.md``."""

from __future__ import annotations

from spillway.twin.azure import wire
from spillway.twin.azure.row import BLOB
from spillway.twin.azure.services import ROWS


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
