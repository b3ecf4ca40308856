"""The form of a generated file: which values fit each property of a resource type.

``types``: type token → name of a shape. ``enums``: name → values; several fields share a long list.

``shapes``: name → ``fields`` (property → field), ``required`` (properties), ``strict`` (no other properties), ``loose``
(names may differ by case and separators), ``by`` and ``kinds`` where a property's value says which shape it is.

A field has ``says`` (the member, in the service's words), what it demands (``pattern``, ``characters``, ``least``,
``most``, ``shortest``, ``longest``, ``enum``, ``choice`` in any case, ``type``) and what is in it: ``shape`` (an
object), ``items`` (a list's field), ``keys`` and ``values`` (a map's fields).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Field = dict[str, Any]


class Enums:
    """Lists of values by name, each kept once."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def name(self, wanted: str, values: list[str]) -> str:
        """The name under which ``values`` are kept: ``wanted``, or with a number where that is another list."""
        name, number = wanted, 2
        while self.found.setdefault(name, values) != values:
            name, number = f"{wanted}{number}", number + 1
        return name


def holds(field: Field) -> bool:
    """Whether a field demands anything, itself or below."""
    return bool(field.keys() - {"says"})


def pruned(types: Mapping[str, str], shapes: Mapping[str, dict[str, Any]]) -> tuple[dict[str, str], dict[str, Any]]:
    """Types and shapes without what demands nothing."""
    left = dict(shapes)
    while True:
        empty = {name for name, shape in left.items() if not (shape.get("fields") or _more(shape))}
        if not empty:
            break
        left = {name: _without(shape, empty) for name, shape in left.items() if name not in empty}
    return {token: name for token, name in types.items() if name in left}, left


def _more(shape: Mapping[str, Any]) -> bool:
    return bool(shape.get("required") or shape.get("kinds"))


def _without(shape: dict[str, Any], empty: set[str]) -> dict[str, Any]:
    fields = {name: kept for name, field in shape["fields"].items() if holds(kept := _cut(field, empty))}
    kinds = {kind: "" if name in empty else name for kind, name in shape.get("kinds", {}).items()}
    return {**shape, "fields": fields, **({"kinds": kinds} if "kinds" in shape else {})}


def _cut(field: Field, empty: set[str]) -> Field:
    kept = {key: value for key, value in field.items() if key not in ("shape", "items", "keys", "values")}
    if "shape" in field and field["shape"] not in empty:
        kept["shape"] = field["shape"]
    for part in ("items", "keys", "values"):
        if part in field and holds(inner := _cut(field[part], empty)):
            kept[part] = inner
    return kept


def text(document: Mapping[str, Mapping[str, Any]]) -> str:
    """The file's text: one line for each entry, so that changes can be read."""
    parts = []
    for part, entries in document.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(entries.items())]
        parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
