"""What a rule sees: a stack of resources with its context, and questions to ask of their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spillway.conformance.graph import Graph
from spillway.contracts.resources import UNKNOWN, Resource


@dataclass(frozen=True)
class Context:
    """What a stack's configuration says besides its resources.

    ``package``: folder of the package that is deployed; ``engines``: those of it that sites serve, ``<hardware
    key>/<precision>``. ``prices``: the stack's own, ``cloud/type/region`` → $/h. ``images``: the key of each
    image that it names or leaves at its default. ``secrets``: values of the stack's secrets, where they can be read.
    """

    package: Path | None = None
    engines: tuple[str, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = field(default_factory=frozenset, repr=False)


class Stack(Graph):
    """The resources that a rule judges: a whole stack, or one resource alone."""

    def __init__(self, resources: Iterable[Resource], context: Context | None = None) -> None:
        super().__init__(resources)
        self.context = context or Context()


def is_missing(value: Any) -> bool:
    """Known to be absent or empty."""
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def is_true(value: Any) -> bool:
    """Known to be true; some providers say it as text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def is_not_true(value: Any) -> bool:
    """Known to be something else than true, absent included."""
    return value is not UNKNOWN and not is_true(value)


def is_other_than(value: Any, *allowed: Any) -> bool:
    """Known, and none of ``allowed``; text compares without case."""
    if value is UNKNOWN:
        return False
    lowered = [item.lower() if isinstance(item, str) else item for item in allowed]
    return (value.lower() if isinstance(value, str) else value) not in lowered


def number(value: Any) -> float | None:
    """A number, also where the provider wants it as text; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def entries(value: Any) -> list[Any]:
    """The known mappings of a list; a mapping alone counts as a list of one."""
    if isinstance(value, Mapping):
        return [value]
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def refers(source: Resource, key: str, target: Resource, *target_keys: str) -> bool:
    """Whether ``source``'s property ``key`` names ``target``.

    A known value is compared with the target's ID and with its properties ``target_keys``. One that is not known yet
    counts when the target is among the source's dependencies, or, where these are not told, has the same parent.
    """
    value = source.get(key)
    if value is not None and value is not UNKNOWN:
        return value == target.id or any(value == target.get(name) for name in target_keys)
    if source.dependencies is not None:
        # Under the Pulumi CLI a provider may leave out of its outputs what it does not know yet.
        return target.urn in source.dependencies
    return value is UNKNOWN and source.parent == target.parent


def paths_of_texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text below ``value`` with its dotted path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from paths_of_texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from paths_of_texts(item, f"{path}.{index}" if path else str(index))
