"""What a stack costs an hour as it is deployed: list prices times the smallest capacity each site keeps."""

from __future__ import annotations

from datetime import date

from components.cost_guard.settings import instance_price
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts.prices import Price, find_price, stale
from stacks.rules import instances
from stacks.settings import StackSettings


def price_per_hour(settings: StackSettings) -> dict[str, float]:
    """US dollars an hour by site, and ``total``. Raises ``PriceError`` for an unknown instance type."""
    gpus, usd_per_gpu_hour = private_capacity(settings)
    found = {"private": gpus * usd_per_gpu_hour}
    costs, burst = settings.cost_guard, settings.burst
    if burst.sagemaker is not None:
        price, _ = instance_price(costs, "sagemaker", burst.sagemaker.instance_type, settings.aws.region)
        found["sagemaker"] = price * burst.sagemaker.min_instances
    if burst.azure_ml is not None and settings.azure is not None:
        price, _ = instance_price(costs, "azure", burst.azure_ml.vm_size, settings.azure.location)
        found["azure_ml"] = price * burst.azure_ml.min_instances
    return {**{site: round(price, 4) for site, price in found.items()}, "total": round(sum(found.values()), 4)}


def private_capacity(settings: StackSettings) -> tuple[int, float]:
    """GPUs of the private site as it starts, and US dollars for one of them and hour."""
    cluster, costs = settings.private_cluster, settings.cost_guard
    match cluster:
        case ExistingSettings():
            return cluster.gpus, cluster.usd_per_gpu_hour
        case EksSettings():
            price, gpus = instance_price(costs, "ec2", cluster.gpu_pool.instance_type, settings.aws.region)
        case AksSettings():
            assert settings.azure is not None
            price, gpus = instance_price(costs, "azure", cluster.gpu_pool.vm_size, settings.azure.location)
    return gpus * cluster.gpu_pool.start_size, price / gpus


def stale_prices(settings: StackSettings, today: date) -> list[Price]:
    """List prices that the stack uses and that were read too long ago; the stack's own prices have no age."""
    own = settings.cost_guard.prices
    used = [
        find_price(cloud, name, region)
        for _, cloud, name, region in instances(settings)
        if f"{cloud}/{name}/{region}" not in own
    ]
    old = {price.key: price for price in stale(used, today, settings.cost_guard.price_max_age_days)}
    return [old[key] for key in sorted(old)]
