"""What a stack costs an hour as it is deployed: list prices times the smallest capacity each site keeps."""

from __future__ import annotations

from components.cost_guard.settings import instance_price
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from stacks.settings import StackSettings


def price_per_hour(settings: StackSettings) -> dict[str, float]:
    """US dollars an hour by site, and ``total``. Raises ``PriceError`` for an unknown instance type."""
    found = {"private": _private(settings)}
    costs, burst = settings.cost_guard, settings.burst
    if burst.sagemaker is not None:
        price, _ = instance_price(costs, "sagemaker", burst.sagemaker.instance_type, settings.aws.region)
        found["sagemaker"] = price * burst.sagemaker.min_instances
    if burst.azure_ml is not None and settings.azure is not None:
        price, _ = instance_price(costs, "azure", burst.azure_ml.vm_size, settings.azure.location)
        found["azure_ml"] = price * burst.azure_ml.min_instances
    return {**{site: round(price, 4) for site, price in found.items()}, "total": round(sum(found.values()), 4)}


def _private(settings: StackSettings) -> float:
    cluster, costs = settings.private_cluster, settings.cost_guard
    match cluster:
        case ExistingSettings():
            return cluster.dollars_per_node_hour * cluster.nodes
        case EksSettings():
            price, _ = instance_price(costs, "ec2", cluster.gpu_pool.instance_type, settings.aws.region)
            return price * cluster.gpu_pool.start_size
        case AksSettings():
            assert settings.azure is not None
            price, _ = instance_price(costs, "azure", cluster.gpu_pool.vm_size, settings.azure.location)
            return price * cluster.gpu_pool.start_size
