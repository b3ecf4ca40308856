"""The stack file that a plan becomes: the stack's own, with the plan's sizes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.burst.site import BurstSite
from components.cost_guard.settings import CostSettings
from spillway.contracts.prices import HOURS_PER_MONTH
from spillway.contracts.problems import key_of
from spillway.contracts.pulumi_yaml import dump, load
from spillway.planner.errors import PlannerError

if TYPE_CHECKING:
    from spillway.planner.search import Candidate


def write_planned(
    source: Path, target: Path, sites: Sequence[BurstSite], chosen: Candidate, said: list[str]
) -> list[str]:
    """Write the stack file ``target``, which is ``source`` with the plan's sizes, and return what was changed.

    ``said``: lines for its head. Raises :class:`PlannerError` where there is one.
    """
    need_free(target)
    file, notes = planned_config(load(source.read_text(encoding="utf-8-sig")), sites, chosen)
    head = "".join(f"# {line}\n" for line in [f"From {source.name} by `spillway plan`.", *said, *notes])
    draft = target.with_name(f".{target.name}.new")
    draft.write_text(head + dump(file), encoding="utf-8")
    draft.replace(target)
    return notes


def need_free(target: Path) -> None:
    """Raises :class:`PlannerError` where there is such a file."""
    if target.exists():
        raise PlannerError(f"{target} is there already; choose another name with --write")


def planned_config(
    raw: dict[str, Any], sites: Sequence[BurstSite], chosen: Candidate
) -> tuple[dict[str, Any], list[str]]:
    """The stack file with the plan's sizes, and what was changed in words. ``raw``: the whole file, parsed."""
    file = copy.deepcopy(raw)
    config = file["config"]
    private = chosen.private
    assert private is not None
    nodes, servers = private.min_instances, private.min_instances * private.servers
    notes = [_private_nodes(config[key_of("private_cluster")], nodes)]
    server = config.setdefault(key_of("model_server"), {})
    scaling = server.setdefault("autoscaling", {})
    scaling["min_replicas"] = servers
    scaling["max_replicas"] = max(servers, scaling.get("max_replicas", servers))
    notes.append(f"model_server: {servers} servers")
    slots = config.setdefault(key_of("gateway"), {}).setdefault("slots", {})
    slots["private"] = _slots(servers * private.slots, private.batch_share)
    part = config.setdefault(key_of("burst"), {})
    by_name = {site.name: site for site in sites}
    for burst in chosen.bursts:
        least, most = burst.min_instances, burst.max_instances
        by_name[burst.site].sized(part.setdefault(burst.site, {}), burst.instance_type, least, most, burst.scaling)
        notes.append(f"burst.{burst.site}: {least} to {most} × {burst.instance_type}")
        at_least = burst.min_instances * burst.servers * burst.slots
        slots[burst.site] = _slots(at_least, burst.batch_share)
        if most > least and burst.scaling.slots_follow:
            notes.append(
                f"gateway.slots.{burst.site}: {at_least}, which stay when it grows; where the package's own slots are "
                "right, leave them out, and they follow"
            )
    notes += _ceilings(config.setdefault(key_of("cost_guard"), {}), chosen)
    return file, notes


def _slots(slots: int, batch_share: float) -> dict[str, int]:
    return {"slots": slots, "batch_slots": int(slots * batch_share)}


def _private_nodes(cluster: dict[str, Any], nodes: int) -> str:
    if cluster.get("kind") == "existing":
        cluster["nodes"] = nodes
        return f"private_cluster.nodes: {nodes}"
    pool = cluster.setdefault("gpu_pool", {})
    pool.pop("initial_nodes", None)
    pool["min_nodes"] = nodes
    pool["max_nodes"] = max(nodes, pool.get("max_nodes", nodes))
    return f"private_cluster.gpu_pool: {nodes} to {pool['max_nodes']} nodes"


def _ceilings(guard: dict[str, Any], chosen: Candidate) -> list[str]:
    """Ceilings that the plan itself does not run into; they are only raised."""
    notes = []
    month = sum(chosen.bill.usd_per_hour[burst.site] for burst in chosen.bursts) * HOURS_PER_MONTH
    most = sum(burst.max_instances * burst.usd_per_hour for burst in chosen.bursts)
    needed = {"max_burst_usd_per_hour": ceil(most * 1.1), "max_forecast_usd": ceil(month * 1.25)}
    for key, value in needed.items():
        if guard.get(key, CostSettings.model_fields[key].default) < value:
            guard[key] = value
            notes.append(f"cost_guard.{key}: raised to {value:,} $, which the plan's burst may cost")
    return notes
