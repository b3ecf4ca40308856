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
from spillway.contracts.pulumi_yaml import load
from spillway.contracts.yaml_patch import patched
from spillway.planner.errors import PlannerError

if TYPE_CHECKING:
    from spillway.contracts.scaling import Scaling
    from spillway.planner.search import Candidate
    from spillway.planner.system import SiteSpec


def write_planned(
    source: Path,
    target: Path,
    sites: Sequence[BurstSite],
    chosen: Candidate,
    said: list[str],
    outage_h: float = 0.0,
    package_slots: int | None = None,
) -> list[str]:
    """Write the stack file ``target``, which is ``source`` with the plan's sizes, and return what was changed.

    ``said``: lines for its head; ``outage_h``: how long the private site may be out, which burst has to be paid for;
    ``package_slots``: of one server as the stack's package has them, where there is one. Raises :class:`PlannerError`
    where the target is there.
    """
    need_free(target)
    text = source.read_text(encoding="utf-8-sig")
    file, notes = planned_config(load(text), sites, chosen, outage_h, package_slots)
    head = "".join(f"# {line}\n" for line in [f"From {source.name} by `spillway plan`.", *said, *notes])
    draft = target.with_name(f".{target.name}.new")
    draft.write_text(head + patched(text, file), encoding="utf-8")
    draft.replace(target)
    return notes


def need_free(target: Path) -> None:
    """Raises :class:`PlannerError` where there is such a file."""
    if target.exists():
        raise PlannerError(f"{target} is there already; choose another name with --write")


def planned_config(
    raw: dict[str, Any],
    sites: Sequence[BurstSite],
    chosen: Candidate,
    outage_h: float = 0.0,
    package_slots: int | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The stack file with the plan's sizes, and what was changed in words. ``raw``: the whole file, parsed."""
    file = copy.deepcopy(raw)
    config = file["config"]
    private = chosen.private
    assert private is not None
    server = config.setdefault(key_of("model_server"), {})
    # A server on several nodes, or on a part of a GPU, is planned as it is.
    span = server["span"]["nodes"] if server.get("span") else 1
    parts = bool(config[key_of("private_cluster")].get("gpu_sharing"))
    nodes, servers = private.min_instances * span, private.min_instances * private.servers
    notes = [_private_nodes(config[key_of("private_cluster")], nodes)]
    scaling = server.setdefault("autoscaling", {})
    scaling["min_replicas"] = servers
    room = _most_nodes(config[key_of("private_cluster")]) // span * private.servers
    scaling["max_replicas"] = max(servers, min(room, scaling.get("max_replicas", servers)))
    server["gpus"] = 1 if parts else private.gpus // private.servers // span
    notes.append(f"model_server: {servers} servers of {server['gpus']} GPUs")
    slots = config.setdefault(key_of("gateway"), {}).setdefault("slots", {})
    of_node = None if package_slots is None else package_slots * private.servers
    notes += _write_slots(slots, private, of_node, grows=scaling["max_replicas"] > servers)
    part = config.setdefault(key_of("burst"), {})
    by_name = {site.name: site for site in sites}
    for name in sorted(part.keys() & by_name.keys() - {burst.site for burst in chosen.bursts}):
        del part[name]
        slots.pop(name, None)
        notes.append(f"burst.{name}: taken out, since no instance of its kind has the GPUs of one server")
    for burst in chosen.bursts:
        least, most = burst.min_instances, burst.max_instances
        how = _as_deployed(burst, package_slots) if most > least else burst.scaling
        by_name[burst.site].sized(part.setdefault(burst.site, {}), burst.instance_type, least, most, how)
        notes.append(f"burst.{burst.site}: {least} to {most} × {burst.instance_type}")
        notes += _write_slots(slots, burst, package_slots, grows=most > least)
    notes += _ceilings(config.setdefault(key_of("cost_guard"), {}), chosen, outage_h)
    return file, notes


def _planned_slots(spec: SiteSpec) -> int:
    """Of one instance, as the plan let requests through."""
    return spec.servers * spec.let_through


def _write_slots(slots: dict[str, Any], spec: SiteSpec, own: int | None, *, grows: bool) -> list[str]:
    """A site's entry of ``gateway.slots``, and what there is to say of it. ``own``: an instance's by the package.

    A number stays as it is when instances are added, which then get no requests: it stands for a site that does not
    grow, and whose package has others.
    """
    planned, site = _planned_slots(spec), str(spec.site)
    kept = {key: value for key, value in slots.pop(site, {}).items() if key == "headroom"}
    fixed = not grows and planned != own
    first = spec.min_instances * (planned if fixed or own is None else own)
    slots[site] = kept | ({"slots": first} if fixed else {}) | {"batch_slots": int(first * spec.batch_share)}
    if fixed or own in (None, planned):
        return []
    return [f"gateway.slots.{site}: as the package has them, {own} for each instance, where the plan took {planned}"]


def _as_deployed(burst: SiteSpec, own: int | None) -> Scaling:
    """How the site scales where the package gives an instance ``own`` slots: at the same share of them."""
    share = 1.0 if own is None else own / _planned_slots(burst)
    return burst.scaling.model_copy(update={"target": round(burst.scaling.target * share, 2)})


def _private_nodes(cluster: dict[str, Any], nodes: int) -> str:
    if cluster.get("kind") == "existing":
        cluster["nodes"] = nodes
        return f"private_cluster.nodes: {nodes}"
    pool = cluster.setdefault("gpu_pool", {})
    pool.pop("initial_nodes", None)
    pool["min_nodes"] = nodes
    pool["max_nodes"] = max(nodes, pool.get("max_nodes", nodes))
    return f"private_cluster.gpu_pool: {nodes} to {pool['max_nodes']} nodes"


def _most_nodes(cluster: dict[str, Any]) -> int:
    """To which a cluster with the plan's nodes grows; one that is there does not."""
    return cluster["nodes"] if cluster.get("kind") == "existing" else cluster["gpu_pool"]["max_nodes"]


def _ceilings(guard: dict[str, Any], chosen: Candidate, outage_h: float) -> list[str]:
    """Ceilings that the plan itself does not run into; they are only raised.

    In an outage all burst runs, for that is what it is there for: a forecast made of a day with one has to pass.
    """
    notes = []
    mean = sum(chosen.bill.usd_per_hour[burst.site] for burst in chosen.bursts)
    most = sum(burst.max_instances * burst.usd_per_hour for burst in chosen.bursts)
    out = min(24.0, 2 * outage_h)
    worst_day = (out * most + (24.0 - out) * mean) / 24.0
    needed: dict[str, float] = {
        "max_burst_usd_per_hour": ceil(most * 1.1),
        "max_forecast_usd": ceil(max(mean * 1.25, worst_day * 1.1) * HOURS_PER_MONTH),
    }
    at_rest = [(site.min_instances * site.gpus, site.min_instances * site.usd_per_hour) for site in chosen.system.sites]
    if gpus := sum(count for count, _ in at_rest):
        needed["max_usd_per_gpu_hour"] = ceil(sum(usd for _, usd in at_rest) / gpus * 110) / 100
    for key, value in needed.items():
        held = guard.get(key, CostSettings.model_fields[key].default)
        if held is not None and held < value:
            guard[key] = value
            notes.append(f"cost_guard.{key}: raised to {value:,} $, which the plan's machines may cost")
    return notes
