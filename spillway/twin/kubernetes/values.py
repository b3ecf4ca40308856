"""Reading manifests that may hold unknown values, and the checks that every rule uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spillway.twin.kubernetes.schema import SchemaError
from spillway.twin.provider import UNKNOWN


def known(value: Any) -> bool:
    """Set, and not :data:`UNKNOWN`."""
    return value is not None and value is not UNKNOWN


def mapping(value: Any) -> dict[str, Any]:
    """The mapping, or an empty one when it is missing or unknown."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[dict[str, Any]]:
    """The mappings in a list; unknown members become empty mappings, so that indexes stay right."""
    return [mapping(item) for item in value] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def without_none(value: Any) -> Any:
    """The value without its ``None`` members: a null field is one that was not given."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value


def dig(value: Any, *path: str) -> Any:
    """The value at a path of keys, ``None`` when a part is missing; :data:`UNKNOWN` when a part is unknown."""
    for key in path:
        if value is UNKNOWN:
            return UNKNOWN
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def one_of(spec: dict[str, Any], name: str, allowed: tuple[str, ...], path: str) -> Iterator[SchemaError]:
    """An enumeration: missing and unknown values pass."""
    value = spec.get(name)
    if known(value) and value not in allowed:
        yield SchemaError(join(path, name), f"{value!r} must be one of {', '.join(allowed)}")


def positive(spec: dict[str, Any], name: str, path: str, minimum: int = 1) -> Iterator[SchemaError]:
    value = spec.get(name)
    if isinstance(value, int | float) and value < minimum:
        yield SchemaError(join(path, name), f"must be greater than or equal to {minimum}")
