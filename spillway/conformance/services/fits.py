"""Whether a value fits a JSON schema, as loosely as cfn-lint has it: ``"2048"`` is 2048.

The usual library takes five seconds to import, which is the time that a whole check may take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any] | bool


def fits(value: Any, schema: Schema) -> bool:
    """Every keyword holds. ``KeyError`` for one that is not known here."""
    if isinstance(schema, bool):
        return schema
    if "if" in schema:
        branch = schema.get("then" if fits(value, schema["if"]) else "else", {})
        if not fits(value, branch):
            return False
    return all(_KEYWORDS[word](value, wanted) for word, wanted in schema.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: Any) -> float | None:
    """A number, also written as text."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _typed(value: Any, wanted: Any) -> bool:
    return any(_TYPES[kind](value) for kind in (wanted if isinstance(wanted, list) else [wanted]))


_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str | int | float),
    "integer": lambda value: (number := _number(value)) is not None and number.is_integer(),
    "number": lambda value: _number(value) is not None,
    "boolean": lambda value: _text(value) in ("true", "false"),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}


def _each(kind: type, says: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A keyword that is about values of this kind, and lets others pass."""
    return lambda value, wanted: not isinstance(value, kind) or says(value, wanted)


def _measured(says: Callable[[float, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: (number := _number(value)) is None or says(number, wanted)


_KEYWORDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "allOf": lambda value, all_: all(fits(value, each) for each in all_),
    "anyOf": lambda value, any_: any(fits(value, each) for each in any_),
    "oneOf": lambda value, one: sum(fits(value, each) for each in one) == 1,
    "not": lambda value, schema: not fits(value, schema),
    "const": lambda value, wanted: _text(value) == _text(wanted),
    "enum": lambda value, wanted: _text(value) in map(_text, wanted),
    "type": _typed,
    "pattern": lambda value, wanted: not _TYPES["string"](value) or bool(re.search(wanted, _text(value))),
    "minLength": _each(str, lambda value, least: len(value) >= least),
    "maxLength": _each(str, lambda value, most: len(value) <= most),
    "minimum": _measured(lambda number, least: number >= least),
    "maximum": _measured(lambda number, most: number <= most),
    "multipleOf": _measured(lambda number, of: number % of == 0),
    "items": _each(list, lambda value, schema: all(fits(item, schema) for item in value)),
    "contains": _each(list, lambda value, schema: any(fits(item, schema) for item in value)),
    "minItems": _each(list, lambda value, least: len(value) >= least),
    "maxItems": _each(list, lambda value, most: len(value) <= most),
    "uniqueItems": _each(list, lambda value, wanted: not wanted or len({repr(item) for item in value}) == len(value)),
    "properties": _each(
        dict, lambda value, named: all(fits(value[name], each) for name, each in named.items() if name in value)
    ),
    "required": _each(dict, lambda value, names: all(name in value for name in names)),
    "dependentRequired": _each(
        dict, lambda value, named: all(set(needed) <= value.keys() for name, needed in named.items() if name in value)
    ),
    "if": lambda *_: True,
    "then": lambda *_: True,
    "else": lambda *_: True,
    "description": lambda *_: True,
}
KEYWORDS: Final = frozenset(_KEYWORDS)
"""What a schema may have."""
