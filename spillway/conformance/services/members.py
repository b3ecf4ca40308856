"""What a service's own model says of a resource's properties: a generated file, and how values are held against it.

``scripts/members/form.py`` describes the file. No message repeats a value: it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from spillway.contracts.resources import UNKNOWN, Resource

_FEW: Final = 12
"""So many values of an enumeration are named in a message."""


@dataclass(frozen=True)
class Fault:
    """One property that the service refuses. ``path``: dotted, empty for the resource itself."""

    path: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Members:
    """A generated file of members."""

    file: Path

    @cached_property
    def _document(self) -> dict[str, Any]:
        return json.loads(self.file.read_text(encoding="utf-8"))

    @property
    def sources(self) -> Mapping[str, str]:
        """What the file was made from → its version."""
        return self._document["sources"]

    def types(self) -> frozenset[str]:
        """The type tokens that the model knows."""
        return frozenset(self._document["types"])

    def faults(self, resource: Resource) -> Iterator[Fault]:
        """What the model refuses of a resource. Types that it does not know, and values not yet known, pass."""
        shape = self._document["types"].get(resource.type)
        if shape is not None:
            yield from self._object(shape, resource.props, "")

    def _object(self, name: str, value: Mapping[str, Any], path: str) -> Iterator[Fault]:
        shape = self._document["shapes"][name]
        given = {loose(key) if shape.get("loose") else key: key for key, item in value.items() if item is not None}
        if "by" in shape:
            kind = value.get(given.get(loose(shape["by"]), ""), UNKNOWN)
            if kind is not UNKNOWN and str(kind).lower() not in shape["kinds"]:
                kinds = ", ".join(shape["kinds"])
                yield Fault(_join(path, shape["by"]), f"{name} is one of {kinds}", "Choose one of these.")
            special = shape["kinds"].get(str(kind).lower())
            shape = self._document["shapes"][special] if special else shape
        # One with an ID alone is a reference to an object, not its description.
        for key in shape.get("required", ()) if set(given) != {"id"} else ():
            if (loose(key) if shape.get("loose") else key) not in given:
                yield Fault(_join(path, key), "is required by the service", "Give it a value.")
        for key, own in given.items():
            if key in shape["fields"]:
                yield from self._value(shape["fields"][key], value[own], _join(path, own))
            elif shape.get("strict"):
                yield Fault(_join(path, own), "is no field that the API knows", "Take it away, or spell it right.")

    def _value(self, field: Mapping[str, Any], value: Any, path: str) -> Iterator[Fault]:
        if value is UNKNOWN:
            return
        if "type" in field and not _fits(field["type"], value):
            yield Fault(path, f"{field['says']} has to be of type {field['type']}", "Give it that type.")
            return
        if isinstance(value, list | tuple):
            yield from _size(field, len(value), "items", path)
            inner = field.get("items", field if "shape" in field else None)
            for index, item in enumerate(value if inner else ()):
                yield from self._value(inner or {}, item, _join(path, index))
        elif isinstance(value, Mapping):
            if "shape" in field:
                yield from self._object(field["shape"], value, path)
            for key, item in value.items():
                yield from _scalar(field.get("keys", {}), key, _join(path, key), self)
                yield from self._value(field.get("values", {}), item, _join(path, key))
        else:
            yield from _scalar(field, value, path, self)

    def values(self, name: str | None) -> list[str]:
        """An enumeration; empty for none."""
        return self._document["enums"][name] if name else []


_TYPES: Final = {"string": str, "boolean": bool, "array": list | tuple, "object": Mapping, "number": int | float}


def _fits(kind: str, value: Any) -> bool:
    """Whether a value is of a type of JSON schema. Pulumi's numbers are all of one kind."""
    if kind == "integer":
        return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    return isinstance(value, _TYPES[kind]) and not (kind == "number" and isinstance(value, bool))


def loose(name: str) -> str:
    """A name as Azure compares it: Pulumi's differ from the wire's by case, ``_``, ``-`` and ``.`` only."""
    return name.replace("_", "").replace(".", "").replace("-", "").lower()


def _scalar(field: Mapping[str, Any], value: Any, path: str, model: Members) -> Iterator[Fault]:
    says = field.get("says", "the service")
    if not field.keys() - {"says"} or value is UNKNOWN:
        return
    if "least" in field or "most" in field:
        yield from _range(field, value, path)
        return
    text = str(value).lower() if isinstance(value, bool) else str(value)
    values = model.values(field.get("enum") or field.get("choice"))
    if values and text not in values and not ("choice" in field and text.lower() in map(str.lower, values)):
        shown = f"one of {', '.join(values)}" if len(values) <= _FEW else f"one of {len(values)} values"
        yield Fault(path, f"{says} takes {shown}, not this", "Choose one of these values.")
    yield from _size(field, len(text), "characters", path)
    if "characters" in field:
        alien = sorted({character for character in text if not _compiled(field["characters"]).fullmatch(character)})
        if alien:
            shown = " ".join(alien)
            yield Fault(path, f"{says} does not take the characters {shown}", f"Write it without {shown}")
    if "pattern" in field and not _compiled(field["pattern"]).fullmatch(text):
        yield Fault(path, f"{says} has to match {field['pattern']}", "Write it so that it does.")


def _range(field: Mapping[str, Any], value: Any, path: str) -> Iterator[Fault]:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return  # that it is a number at all, the provider's schema demands
    yield from _between(field, number, ("least", "most"), "is outside", path)


def _size(field: Mapping[str, Any], size: int, of: str, path: str) -> Iterator[Fault]:
    yield from _between(field, size, ("shortest", "longest"), f"has {size} {of}:", path)


def _between(field: Mapping[str, Any], number: float, bounds: tuple[str, str], says: str, path: str) -> Iterator[Fault]:
    low, high = field.get(bounds[0]), field.get(bounds[1])
    if (low is not None and number < low) or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
        yield Fault(path, f"{says} {field.get('says', 'the service')} takes {allowed}", f"Keep to {allowed}.")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)
