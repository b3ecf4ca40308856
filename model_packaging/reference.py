"""The generated parts of the reference page ``manifest.md``."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from model_packaging.registry.stages import StageRecord
from spillway.contracts.manifest import NOT_CONTENT, Manifest
from spillway.contracts.schema_tables import Row, rows, table
from spillway.contracts.trt_engines import EngineRecord


def manifest() -> str:
    """Every field of ``manifest.json``, and whether the digest is over it."""
    lines = ((*_cells(row), "no" if _top(row) in NOT_CONTENT else "yes") for row in _rows(Manifest))
    return table(("Field", "Type", "Meaning", "In the digest"), lines)


def engine() -> str:
    """Every field of ``engine.json``."""
    return table(("Field", "Type", "Meaning"), map(_cells, _rows(EngineRecord)))


def stage() -> str:
    """Every field of a stage's record in a registry."""
    return table(("Field", "Type", "Meaning"), map(_cells, _rows(StageRecord)))


def _rows(model: type[BaseModel]) -> Iterator[Row]:
    schema = model.model_json_schema()
    return rows(schema, schema.get("$defs", {}))


def _cells(row: Row) -> tuple[str, str, str]:
    return f"`{row.key}`", row.type, row.meaning


def _top(row: Row) -> str:
    """The field of the record itself that a row is, or stands inside."""
    return row.key.partition(".")[0].removesuffix("[]")
