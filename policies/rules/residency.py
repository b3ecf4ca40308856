"""Residency: data that may not leave does not, by the gateway's own routing table."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from pydantic import Field, ValidationError

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack
from spillway.contracts.classes import Site
from spillway.contracts.resources import Resource
from spillway.contracts.routing import MaySpill, RoutingTable


class ResidencySettings(PolicySettings):
    """Where data may go, whatever the gateway's settings say."""

    burst_regions: tuple[str, ...] = ("*",)
    """Regions in which a burst site may stand that some caller's data may reach; ``*`` stands for any letters."""

    clients: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Client name → regions that its data may go to; an empty list: it stays on the private site."""


def _residency(stack: Stack, settings: ResidencySettings) -> Iterator[Finding]:
    for config_map in stack.of("kubernetes:core/v1:ConfigMap"):
        text = _data(config_map).get("routing.json")
        if isinstance(text, str):
            yield from _table(config_map, text, settings)


def _data(config_map: Resource) -> dict[str, object]:
    data = config_map.get("data")
    return data if isinstance(data, dict) else {}


def _table(config_map: Resource, text: str, settings: ResidencySettings) -> Iterator[Finding]:
    try:
        table = RoutingTable.model_validate_json(text)
    except ValidationError:
        yield Finding(config_map, "data.routing.json is no routing table, so nobody can say where data goes")
        return
    callers: list[tuple[str, MaySpill]] = [(client.name, client.may_spill) for client in table.clients]
    if table.anonymous:
        callers.append(("anonymous", table.anonymous.may_spill))
    for name, may_spill in callers:
        reached = _regions(table, may_spill)
        if any(not _matches(region, settings.burst_regions) for region in reached):
            yield Finding(config_map, f"data of the caller {name} may spill to a region outside burst_regions")
        allowed = settings.clients.get(name)
        if allowed is not None and any(not _matches(region, allowed) for region in reached):
            stays = "has to stay on the private site" if not allowed else f"may only go to {', '.join(allowed)}"
            yield Finding(config_map, f"data of the client {name} {stays}, and its may_spill lets it go further")
    for name in sorted(settings.clients.keys() - {name for name, _ in callers}):
        yield Finding(config_map, f"the client {name}, whose data is bound to a place, is not in the routing table")


def _regions(table: RoutingTable, may_spill: MaySpill) -> set[str]:
    """Regions of the burst sites that a caller's requests may reach, over every class."""
    sites = {site for route in table.classes for site in table.allowed_sites(route.request_class, may_spill)}
    return {table.site(site).region for site in sites - {Site.PRIVATE}}


def _matches(region: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(region, pattern) for pattern in patterns)


POLICIES = (
    Policy(
        "data-residency",
        "Data that must not leave stays: no caller's requests may spill further than the stack allows.",
        "Narrow `may_spill` of the client under `gateway.clients` (or `gateway.model_may_spill`) in the stack file.",
        _residency,
        ResidencySettings,
        severity="critical",
    ),
)
