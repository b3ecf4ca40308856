"""Several models on the same private nodes: how many nodes their servers take together.

A plan sizes whole nodes. Where a server takes a part of one, what is left over may hold another model's servers. Each
plan says the fewest servers with which it holds, and servers are packed, the largest first: none spans two nodes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spillway.contracts.classes import Site
from spillway.contracts.prices import HOURS_PER_MONTH
from spillway.planner.errors import PlannerError
from spillway.planner.search import Candidate, Search


@dataclass(frozen=True)
class Tenant:
    """One model's servers. ``nodes``: that it takes alone; ``gpus``, ``usd_per_hour``: of one node."""

    model: str
    instance_type: str
    gpus: int
    usd_per_hour: float
    gpus_per_server: int
    servers: int
    nodes: int


@dataclass(frozen=True)
class Shared:
    """``nodes``: that all take together."""

    tenants: tuple[Tenant, ...]
    nodes: int

    @property
    def text(self) -> str:
        first, alone = self.tenants[0], sum(one.nodes for one in self.tenants)
        parts = ", ".join(f"{one.model} {one.servers} × {one.gpus_per_server}" for one in self.tenants)
        month = (alone - self.nodes) * first.usd_per_hour * HOURS_PER_MONTH
        return (
            f"On shared nodes the servers of {len(self.tenants)} models (GPUs: {parts}) take {self.nodes} × "
            f"{first.instance_type} instead of {alone}: {month:,.0f} $ a month less."
        )

    def to_json(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "tenants": [asdict(one) for one in self.tenants]}


def tenant_of(search: Search, sized: Candidate) -> Tenant:
    """The fewest private servers with which ``sized`` still holds, its burst as it is."""
    private = sized.private
    assert private is not None
    each = private.gpus // private.servers
    part = private.model_copy(
        update={"servers": 1, "gpus": each, "usd_per_hour": private.usd_per_hour * each / max(1, private.gpus)}
    )
    low, high = 0, private.min_instances * private.servers
    grows = private.max_instances > private.min_instances
    while high - low > 1 and not grows:
        middle = (low + high) // 2
        sites = tuple(part.sized(middle) if s.site == Site.PRIVATE else s for s in sized.system.sites)
        system = sized.system.model_copy(update={"sites": sites})
        tried = search.with_outages(search.run("hybrid", system, search.trace))
        low, high = (low, middle) if tried.holds else (middle, high)
    node = private.instance_type, private.gpus, private.usd_per_hour
    return Tenant(search.service.name, *node, each, high, private.min_instances)


def read_tenant(path: Path) -> Tenant:
    """Of what ``spillway plan --shared --json`` wrote. Raises :class:`PlannerError`."""
    try:
        return Tenant(**json.loads(path.read_text(encoding="utf-8"))["shared"]["tenants"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise PlannerError(
            f"{path} is no plan with its servers; give what `spillway plan --shared --json` wrote"
        ) from None


def shared(tenants: Sequence[Tenant]) -> Shared:
    """Raises :class:`PlannerError` where they are not of one kind of node."""
    first = tenants[0]
    for one in tenants:
        if (one.instance_type, one.gpus) != (first.instance_type, first.gpus):
            raise PlannerError(
                f"{one.model} is planned on {one.instance_type} with {one.gpus} GPUs, {first.model} on "
                f"{first.instance_type} with {first.gpus}: nodes are shared by plans of one kind of node"
            )
    free: list[int] = []
    for gpus in sorted((one.gpus_per_server for one in tenants for _ in range(one.servers)), reverse=True):
        at = next((n for n, left in enumerate(free) if left >= gpus), None)
        if at is None:
            free.append(first.gpus - gpus)
        else:
            free[at] -= gpus
    return Shared(tuple(tenants), len(free))
