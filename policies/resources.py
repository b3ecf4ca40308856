"""What a rule sees: resources as plain values, with what is not known yet marked, and questions to ask of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final


class _Unknown:
    """Stands for a value that a preview cannot know. A rule lets it pass: it is judged again once it is known."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True)
class Resource:
    """One resource. ``props``: its inputs, camelCase as in the provider's schema, secrets in clear.

    ``clear``: the same without what is marked secret; ``None`` where the engine does not tell (the Pulumi CLI).
    ``dependencies``: URNs; ``None`` where the engine does not tell. ``region``: of its provider.
    """

    type: str
    name: str
    urn: str
    props: Mapping[str, Any]
    id: str | None = None
    protect: bool = False
    parent: str = ""
    dependencies: frozenset[str] | None = None
    region: str = ""
    clear: Mapping[str, Any] | None = None

    def get(self, path: str) -> Any:
        """The value at a dotted path (numbers step into lists), ``None`` where there is none, else ``UNKNOWN``."""
        return at(self.props, path)


@dataclass(frozen=True)
class Context:
    """What a stack's configuration says besides its resources.

    ``package``: folder of the package that is deployed; ``engines``: those of it that sites serve, ``<hardware
    key>/<precision>``. ``prices``: the stack's own, ``cloud/type/region`` → $/h. ``secrets``: values of the stack's
    secrets, where they can be read.
    """

    package: Path | None = None
    engines: tuple[str, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    secrets: frozenset[str] = field(default_factory=frozenset, repr=False)


class Stack:
    """The resources that a rule judges: a whole stack, or one resource alone."""

    def __init__(self, resources: Iterable[Resource], context: Context | None = None) -> None:
        self.resources = tuple(resources)
        self.context = context or Context()
        self._by_type: dict[str, list[Resource]] = {}
        for resource in self.resources:
            self._by_type.setdefault(resource.type, []).append(resource)

    def of(self, *types: str) -> list[Resource]:
        """The resources of these types."""
        return [resource for type_ in types for resource in self._by_type.get(type_, ())]


def at(value: Any, path: str) -> Any:
    """The value at a dotted path below ``value``; see :meth:`Resource.get`."""
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return UNKNOWN if value is UNKNOWN else None
    return value


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


def texts(value: Any) -> list[str]:
    """The known texts of a list; a text alone counts as a list of one."""
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def document(value: Any) -> Any:
    """A JSON document that a provider takes as text; ``None`` when it is not known or no JSON."""
    if not isinstance(value, str):
        return value if isinstance(value, Mapping) else None
    try:
        return json.loads(value)
    except ValueError:
        return None


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
