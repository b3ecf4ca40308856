"""The fields of a typed record as rows of a table, from its JSON Schema: what the reference pages are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]

_TYPES: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_BOUNDS: Final = (
    ("from", "minimum"),
    ("above", "exclusiveMinimum"),
    ("to", "maximum"),
    ("below", "exclusiveMaximum"),
)


@dataclass(frozen=True)
class Row:
    """One field. ``key``: its path in the record, as in ``files[].path`` (of each in a list) or ``tools.<name>``."""

    key: str
    type: str
    default: str
    meaning: str


def rows(model: Schema, definitions: Schema, path: str = "") -> Iterator[Row]:
    """The fields of a record, each followed by those of the records inside it. ``definitions``: the schema's ``$defs``.

    A field without a docstring of its own means what its type says of itself.
    """
    required = model.get("required", [])
    for name, value in model["properties"].items():
        key = f"{path}.{name}" if path else name
        default = "required" if name in required else _default(value)
        meaning = value.get("description") or _referred(value, definitions).get("description", "")
        yield Row(key, _type(value, definitions), default, one_line(meaning))
        for _, inner in records(value, definitions):
            yield from rows(inner, definitions, key + _step(value))


def records(value: Schema, definitions: Schema) -> list[tuple[str, Schema]]:
    """The records that may stand at a key, alone, in a list or by name, with what tells one from the others."""
    if inner := _inner(value):
        return records(inner, definitions)
    if "discriminator" in value:
        tag = value["discriminator"]["propertyName"]
        mapping = value["discriminator"]["mapping"]
        return [(f"with `{tag}: {name}`", _resolve(ref, definitions)) for name, ref in mapping.items()]
    references = [option["$ref"] for option in [value, *value.get("anyOf", [])] if "$ref" in option]
    models = [_resolve(reference, definitions) for reference in references]
    return [("", model) for model in models if "properties" in model]


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table in Markdown, without a newline at its end."""
    titles = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *lines))


def one_line(text: str) -> str:
    """A docstring as one line of Markdown, safe inside a table."""
    plain = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return plain.replace("``", "`").replace("|", "\\|")


def _inner(value: Schema) -> Schema | None:
    """The schema of what a list or a mapping holds."""
    inner = value.get("items") if value.get("type") == "array" else value.get("additionalProperties")
    return inner if isinstance(inner, dict) else None


def _step(value: Schema) -> str:
    """How a path goes on from a key into what it holds."""
    if _inner(value) is None:
        return ""
    return "[]" if value["type"] == "array" else ".<name>"


def _referred(value: Schema, definitions: Schema) -> Schema:
    """The schema that stands for this one. Pydantic leaves out a field's description where that one has the same."""
    return _resolve(value["$ref"], definitions) if "$ref" in value else value


def _resolve(reference: str, definitions: Schema) -> Schema:
    return definitions[reference.removeprefix("#/$defs/")]


def _type(value: Schema, definitions: Schema) -> str:
    if "$ref" in value:
        return _type(_resolve(value["$ref"], definitions), definitions)
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return "one of " + ", ".join(f"`{option}`" for option in value["enum"])
    for union in ("anyOf", "oneOf"):
        if union in value:
            return " or ".join(dict.fromkeys(_type(option, definitions) for option in value[union]))
    match value.get("type"):
        case "null":
            return "`null`"
        case "array" if "prefixItems" in value:
            return f"({', '.join(_type(part, definitions) for part in value['prefixItems'])})"
        case "array":
            return f"list of {_type(value.get('items', {}), definitions)}"
        case "object":
            inner = _inner(value)
            return f"mapping to {_type(inner, definitions)}" if inner else "mapping"
        case kind:
            return _TYPES.get(str(kind), "anything") + _bounds(value)


def _bounds(value: Schema) -> str:
    said = [f"{word} {value[bound]:g}" for word, bound in _BOUNDS if bound in value]
    return f", {' '.join(said)}" if said else ""


def _default(value: Schema) -> str:
    if "default" not in value:
        return "empty"
    default = value["default"]
    if isinstance(default, dict) and default:
        return "as below"
    return f"`{one_line(json.dumps(default, ensure_ascii=False))}`"
