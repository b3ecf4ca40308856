"""The provider's own schema for the types that have a row: input names, types, what is required, output names.

It is in ``schema.json``, which ``generate.py`` makes from the source of the ``pulumi_aws`` package: importing that
package costs seconds and the stand-in must be up at once.

A property's type is a short string: ``str``, ``int``, ``float``, ``bool``, ``any``, ``asset``, ``[T]`` for a list,
``{T}`` for a map and ``#module.Object`` for a nested object.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SCHEMA_FILE = Path(__file__).with_name("schema.json")


Kind = Literal["list", "objects", "map", "scalar"]
"""What an output is: the SDK refuses one of another kind."""


@dataclass(frozen=True)
class ObjectSchema:
    """The properties of a resource's inputs or of a nested object."""

    types: dict[str, str]
    required: tuple[str, ...]


@dataclass(frozen=True)
class TypeSchema:
    """One resource type as the provider's SDK describes it."""

    inputs: ObjectSchema
    outputs: dict[str, Kind]
    secrets: tuple[str, ...]

    def fits(self, name: str, value: Any) -> bool:
        """Whether ``value`` has the kind that the provider's SDK expects of this output."""
        match self.outputs.get(name):
            case "list":
                return isinstance(value, list) and not any(isinstance(item, dict) for item in value)
            case "objects":
                return isinstance(value, list) and all(isinstance(item, dict) for item in value)
            case "map":
                return isinstance(value, dict)
            case "scalar":
                return not isinstance(value, (list, dict))
        return True


@functools.cache
def _document() -> dict[str, Any]:
    return json.loads(SCHEMA_FILE.read_text())


@functools.cache
def type_schema(token: str) -> TypeSchema:
    """The schema of one type token. ``KeyError`` when ``schema.json`` was not regenerated after a row was added."""
    raw = _document()["types"][token]
    return TypeSchema(
        inputs=ObjectSchema(raw["inputs"], tuple(raw["required"])),
        outputs=raw["outputs"],
        secrets=tuple(raw["secrets"]),
    )


@functools.cache
def object_schema(name: str) -> ObjectSchema:
    """The schema of a nested object, named as in a ``#module.Object`` type."""
    raw = _document()["objects"][name]
    return ObjectSchema(raw["inputs"], tuple(raw["required"]))
