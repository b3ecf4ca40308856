"""In which order a stack comes up and goes down: whoever depends on another is made after it and deleted before it."""

from __future__ import annotations

from spillway.conformance.graph import Graph
from spillway.contracts.resources import Resource


class Order:
    """The order that a deployer keeps: of two resources that no chain of dependencies ties, either may go first."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._below: dict[str, frozenset[str]] = {}
        # The Pulumi CLI's events tell no dependencies: then there is no order to judge.
        self.told = any(resource.dependencies for resource in graph.resources)

    def outlives(self, needed: Resource, user: Resource) -> bool:
        """Whether ``needed`` is there before ``user`` and until ``user`` is gone, or for ever."""
        return needed.retain_on_delete or needed.urn in self._needs(user.urn)

    def _needs(self, urn: str) -> frozenset[str]:
        """Every URN that has to stand before this one."""
        if urn not in self._below:
            found: set[str] = set()
            waiting = [urn]
            while waiting:
                for needed in self._direct(waiting.pop()):
                    if needed not in found:
                        found.add(needed)
                        waiting.append(needed)
            self._below[urn] = frozenset(found)
        return self._below[urn]

    def _direct(self, urn: str) -> set[str]:
        """As Pulumi orders deletions: dependencies, provider, parent, and what it is deleted with."""
        resource = self._graph.by_urn.get(urn)
        if resource is None:
            return set()
        waited = {*(resource.dependencies or ()), *resource.after}
        return {*waited, resource.provider, resource.parent, resource.deleted_with} - {""}
