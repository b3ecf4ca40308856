"""What a stack costs an hour as it is deployed: list prices times the smallest capacity each site keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from components.burst.site import BurstSite
from components.cost_guard.settings import instance_price
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import Site
from spillway.contracts.prices import Price, PriceModel, bought_price, stale
from stacks.settings import StackSettings

_ON_DEMAND: Final[PriceModel] = "on_demand"
_SPOT: Final[PriceModel] = "spot"


def price_per_hour(settings: StackSettings, sites: Sequence[BurstSite]) -> dict[str, float]:
    """US dollars an hour by site, and ``total``. Raises ``PriceError`` for an unknown instance type."""
    gpus, usd_per_gpu_hour = private_capacity(settings)
    found = {Site.PRIVATE.value: gpus * usd_per_gpu_hour}
    for site in sites:
        first = site.machines()[0]
        found[site.name] = usd_per_hour(settings, first, first.least)
    return {**{site: round(price, 4) for site, price in found.items()}, "total": round(sum(found.values()), 4)}


def usd_per_hour(settings: StackSettings, machines: Machines, count: int) -> float:
    """Of so many of them. Raises ``PriceError``."""
    where = machines.cloud, machines.instance_type, machines.region
    return instance_price(settings.cost_guard, *where, machines.model)[0] * count


def price_at_peak(settings: StackSettings, sites: Sequence[BurstSite]) -> float:
    """US dollars an hour with every autoscaler at its maximum. Raises ``PriceError``."""
    cluster = settings.private_cluster
    owned = cluster.gpus * cluster.usd_per_gpu_hour if isinstance(cluster, ExistingSettings) else 0.0
    return round(owned + sum(usd_per_hour(settings, one, one.most) for one in all_machines(settings, sites)), 4)


def private_machines(settings: StackSettings) -> Machines | None:
    """The private GPU nodes that are paid by the hour; ``None`` for a cluster of one's own."""
    cluster, model = settings.private_cluster, _ON_DEMAND
    match cluster:
        case ExistingSettings():
            return None
        case EksSettings():
            key, cloud, pool = "instance_type", "ec2", cluster.gpu_pool
            instance_type, region = pool.instance_type, settings.aws.region
            model = _SPOT if pool.capacity_type == "SPOT" else model
        case AksSettings():
            assert settings.azure is not None
            key, cloud, pool = "vm_size", "azure", cluster.gpu_pool
            instance_type, region = pool.vm_size, settings.azure.location
    bounds = pool.start_nodes, pool.max_nodes
    return Machines(f"private_cluster.gpu_pool.{key}", cloud, instance_type, region, *bounds, model)


def private_capacity(settings: StackSettings) -> tuple[int, float]:
    """GPUs of the private site as it starts, and US dollars for one of them and hour."""
    cluster = settings.private_cluster
    if isinstance(cluster, ExistingSettings):
        return cluster.gpus, cluster.usd_per_gpu_hour
    nodes = private_machines(settings)
    assert nodes is not None
    price, gpus = instance_price(settings.cost_guard, nodes.cloud, nodes.instance_type, nodes.region, nodes.model)
    return gpus * nodes.least, price / gpus


def all_machines(settings: StackSettings, sites: Sequence[BurstSite]) -> list[Machines]:
    """Everything that is paid by the hour."""
    own = private_machines(settings)
    return [*([own] if own else []), *(machines for site in sites for machines in site.machines())]


def stale_prices(settings: StackSettings, sites: Sequence[BurstSite], today: date) -> list[Price]:
    """List prices that the stack uses and that were read too long ago; the stack's own prices have no age."""
    own = settings.cost_guard.prices
    used = [
        bought_price(one.cloud, one.instance_type, one.region, one.model)
        for one in all_machines(settings, sites)
        if f"{one.cloud}/{one.instance_type}/{one.region}" not in own
    ]
    old = {price.key: price for price in stale(used, today, settings.cost_guard.price_max_age_days)}
    return [old[key] for key in sorted(old)]
