"""The resources of a deployment as a graph, with the questions that rules ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from spillway.contracts.resources import Resource


class Graph:
    """Resources by type and URN. After a rehearsal ``id`` and ``outputs`` are known; in a preview they are not."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = tuple(resources)
        self.by_urn = {resource.urn: resource for resource in self.resources}
        self._by_type: dict[str, list[Resource]] = {}
        for resource in self.resources:
            self._by_type.setdefault(resource.type, []).append(resource)

    def of(self, *types: str) -> list[Resource]:
        """The resources of these type tokens."""
        return [resource for type_ in types for resource in self._by_type.get(type_, ())]

    def needs(self, resource: Resource) -> list[Resource]:
        """What it depends on, directly."""
        return [self.by_urn[urn] for urn in resource.dependencies or () if urn in self.by_urn]

    def all_needs(self, resource: Resource) -> list[Resource]:
        """What it depends on, directly or not."""
        found: dict[str, Resource] = {}
        left = [resource]
        while left:
            new = [one for one in self.needs(left.pop()) if one.urn not in found]
            found |= {one.urn: one for one in new}
            left += new
        return list(found.values())

    def named(self, value: Any, *types: str) -> Resource | None:
        """The resource that ``value`` names: by its ID, or by a text that it answered (ARN, name, endpoint)."""
        if not isinstance(value, str) or not value:
            return None
        found = self._by_answer.get(value, ())
        return next((resource for resource in found if not types or resource.type in types), None)

    @cached_property
    def _by_answer(self) -> dict[str, list[Resource]]:
        answers: dict[str, list[Resource]] = {}
        for resource in self.resources:
            for value in dict.fromkeys(_identities(resource)):
                answers.setdefault(value, []).append(resource)
        return answers


def chart_of(release: Resource) -> str:
    """A Helm release's chart by its name alone; one in an OCI registry is given with its address."""
    return str(release.get("chart") or "").rpartition("/")[2]


def _identities(resource: Resource) -> Iterator[str]:
    """Its ID first, then every text it answered that it was not given."""
    if resource.id:
        yield resource.id
    for key, value in resource.outputs.items():
        own = key in ("arn", "name") or value != resource.props.get(key)
        if isinstance(value, str) and own:
            yield value
