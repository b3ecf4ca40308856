"""The generated part of the reference page ``twin-aws.md``: what the AWS stand-in emulates."""

from __future__ import annotations

from spillway.twin.aws.services import ROWS

_WHO = {
    "moto": "emulated by moto",
    "filled": "moto, filled in by us",
    "recorded": "only recorded",
}


def table() -> str:
    """One line for each resource type."""
    lines = ["| resource type | made by | done by | limits |", "| --- | --- | --- | --- |"]
    for token in sorted(ROWS):
        row = ROWS[token]
        lines.append(f"| `{token}` | {row.service} `{row.create}` | {_WHO[row.coverage]} | {row.note} |")
    return "\n".join(lines)
