"""A resource of a deployment as plain values: what a deployer shows to policies, and what these say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol


class _Unknown:
    """Stands for a value that a preview cannot know. A rule lets it pass: it is judged again once it is known."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __reduce__(self) -> str:
        """Copies and pickles are the one that there is."""
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True)
class Resource:
    """One resource. ``props``: its inputs, camelCase as in the provider's schema, secrets in clear.

    ``clear``: the same without what is marked secret; ``None`` where the deployer does not tell (the Pulumi CLI).
    ``dependencies``: URNs; ``None`` where the deployer does not tell. ``region``: of its provider.
    ``outputs``: what the provider answered, secrets as ``UNKNOWN``; empty where nothing was made. ``provider``: URN.
    ``after``: URNs that the components around it wait for, and so does it.
    ``deleted_with``: URN of the resource whose deletion takes this one along; it is not deleted by itself then.
    ``retain_on_delete``: it stays in the cloud. ``ignore_changes``: property paths that an update leaves as they are.
    These four are their defaults where the deployer does not tell.
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
    outputs: Mapping[str, Any] = field(default_factory=dict)
    provider: str = ""
    after: frozenset[str] = frozenset()
    deleted_with: str = ""
    retain_on_delete: bool = False
    ignore_changes: tuple[str, ...] = ()

    def get(self, path: str) -> Any:
        """The value at a dotted path (numbers step into lists), ``None`` where there is none, else ``UNKNOWN``."""
        return at(self.props, path)


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


def waited_for(parent: str, components: Mapping[str, tuple[str, Iterable[str]]]) -> frozenset[str]:
    """What the components around a resource depend on. ``components``: URN → (parent, dependencies)."""
    found: set[str] = set()
    while parent in components:
        parent, dependencies = components[parent]
        found.update(dependencies)
    return frozenset(found)


@dataclass(frozen=True)
class Violation:
    """A policy's finding. A mandatory one stops the deployment before anything is created."""

    policy: str
    urn: str
    message: str
    mandatory: bool = True


class Policies(Protocol):
    """Judges resources. ``whole``: a plan, with all that will stand; else one resource that is about to be made."""

    def __call__(self, resources: Sequence[Resource], *, whole: bool = True) -> Sequence[Violation]: ...
