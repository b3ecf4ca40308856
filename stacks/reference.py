"""The generated parts of the reference pages ``stack-file.md`` and ``support.md``."""

from __future__ import annotations

from typing import Final

from spillway.contracts.schema_tables import Schema, one_line, records, rows, table
from stacks.settings import StackSettings
from stacks.support import table as cells

_HEAD: Final = ("Key", "Type", "Default", "Meaning")


def keys() -> str:
    """Every key of a stack file: path, type, default, meaning; a section for each that holds others."""
    schema = StackSettings.model_json_schema()
    definitions, properties = schema["$defs"], schema["properties"]
    plain = {key: value for key, value in properties.items() if not records(value, definitions)}
    parts = ["## The stack", _table({"properties": plain, "required": schema["required"]}, definitions)]
    for key, value in properties.items():
        if key == "policies":
            parts += ["## `policies`", _POLICIES]
            continue
        for title, model in records(value, definitions):
            parts += [f"## `{key}` {title}".rstrip(), one_line(model.get("description", ""))]
            parts += [_table(model, definitions, key)]
    return "\n\n".join(parts)


def supported() -> str:
    """The combinations of cluster, burst sites and DNS that the program deploys, and what each uses."""
    head = ("Cluster", "Burst", "DNS", "Standby gateway", "Where P2 waits", "Cost function", "AWS credentials")
    lines = (
        (
            cell.cluster,
            cell.burst_said,
            cell.dns,
            cell.standby,
            cell.queue,
            cell.cost_function,
            cell.identity,
            cell.secrets,
        )
        for cell in cells()
        if cell.refused is None
    )
    return table((*head, "Gateway keys"), lines)


def refused() -> str:
    """The combinations that are refused, each with its reason."""
    lines = ((cell.cluster, cell.burst_said, cell.dns, cell.refused) for cell in cells() if cell.refused is not None)
    return table(("Cluster", "Burst", "DNS", "Why, and what to choose instead"), lines)


_POLICIES: Final = "One key a policy, each with `level`, `exempt` and its own parameters: [policies](policies.md)."


def _table(model: Schema, definitions: Schema, path: str = "") -> str:
    lines = ((f"`{row.key}`", row.type, row.default, row.meaning) for row in rows(model, definitions, path))
    return table(_HEAD, lines)
