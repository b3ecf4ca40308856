"""What machines a stack runs: a reading of its resources that several rules share. No policy of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from policies.resources import Stack, entries, number, refers
from spillway.contracts.prices import Cloud, PriceModel
from spillway.contracts.property_values import texts
from spillway.contracts.resources import UNKNOWN, Resource

SAGEMAKER_ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
SAGEMAKER_CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
SCALING_TARGET = "aws:appautoscaling/target:Target"
ONLINE_ENDPOINT = "azure-native:machinelearningservices:OnlineEndpoint"
ONLINE_DEPLOYMENT = "azure-native:machinelearningservices:OnlineDeployment"
BATCH_ENDPOINT = "azure-native:machinelearningservices:BatchEndpoint"
COMPUTE = "azure-native:machinelearningservices:Compute"
AUTOSCALE_SETTING = "azure-native:monitor:AutoscaleSetting"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
AGENT_POOL = "azure-native:containerservice:AgentPool"
MANAGED_CLUSTER = "azure-native:containerservice:ManagedCluster"
INSTANCE = "aws:ec2/instance:Instance"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"

COUNTED = (
    INSTANCE,
    LAUNCH_TEMPLATE,
    NODE_GROUP,
    AGENT_POOL,
    COMPUTE,
    ONLINE_ENDPOINT,
    ONLINE_DEPLOYMENT,
    BATCH_ENDPOINT,
    "azure-native:machinelearningservices:BatchDeployment",
    "aws:autoscaling/group:Group",
    "aws:sagemaker/",
)
"""How types begin whose machines are counted here, or that are parts of such."""

_ACCELERATED = re.compile(r"(ml\.)?(g|p|inf|trn)\d|standard_n", re.IGNORECASE)


@dataclass(frozen=True)
class Machines:
    """Machines of one type. ``least``, ``most``: how many run; ``None`` where the plan does not say. ``model``: how
    they are bought."""

    resource: Resource
    cloud: Cloud
    instance_type: str
    region: str
    least: float | None
    most: float | None
    model: PriceModel = "on_demand"

    @property
    def accelerated(self) -> bool:
        """Whether the type has GPUs or the like, by the clouds' naming: EC2 g, p, inf, trn; Azure N."""
        return _ACCELERATED.match(self.instance_type) is not None


def machines(stack: Stack) -> Iterator[Machines]:
    """Every kind of machine whose type is known."""
    for found in _all(stack):
        if isinstance(found.instance_type, str):
            yield found


def _all(stack: Stack) -> Iterator[Machines]:
    yield from _sagemaker(stack)
    yield from _azure_ml(stack)
    for group in stack.of(NODE_GROUP):
        least, most = number(group.get("scalingConfig.desiredSize")), number(group.get("scalingConfig.maxSize"))
        model: PriceModel = "spot" if group.get("capacityType") == "SPOT" else "on_demand"
        for type_ in texts(group.get("instanceTypes")):
            yield Machines(group, "ec2", type_, group.region, least, most, model)
    for cluster in stack.of(MANAGED_CLUSTER):
        for pool in entries(cluster.get("agentPoolProfiles")):
            yield _pool(cluster, pool)
    for pool in stack.of(AGENT_POOL):
        own = (c for c in stack.of(MANAGED_CLUSTER) if refers(pool, "resourceName", c, "resourceName", "name"))
        # It stands where its cluster stands, and says nothing of its own.
        yield replace(_pool(pool, pool.props), region=next(map(location, own), ""))
    for instance in stack.of(INSTANCE, LAUNCH_TEMPLATE):
        count = 1.0 if instance.type == INSTANCE else 0.0
        template = stack.named(instance.get("launchTemplate.id"), LAUNCH_TEMPLATE)
        type_: Any = instance.get("instanceType") or (template.get("instanceType") if template else None)
        yield Machines(instance, "ec2", type_, instance.region, count, count)


def _pool(resource: Resource, pool: Any) -> Machines:
    count = number(pool.get("count"))
    most = number(pool.get("maxCount"))
    return Machines(resource, "azure", pool.get("vmSize"), location(resource), count, count if most is None else most)


def _sagemaker(stack: Stack) -> Iterator[Machines]:
    for configuration in stack.of(SAGEMAKER_CONFIGURATION):
        endpoint = next(
            (e for e in stack.of(SAGEMAKER_ENDPOINT) if refers(e, "endpointConfigName", configuration, "name")), None
        )
        target = scaling_target(stack, endpoint) if endpoint else None
        for variant in entries(configuration.get("productionVariants")):
            count = number(variant.get("initialInstanceCount"))
            least = number(target.get("minCapacity")) if target else count
            most = number(target.get("maxCapacity")) if target else count
            yield Machines(configuration, "sagemaker", variant.get("instanceType"), configuration.region, least, most)


def scaling_target(stack: Stack, endpoint: Resource) -> Resource | None:
    """What scales a SageMaker endpoint."""
    name = endpoint.get("name")
    for target in stack.of(SCALING_TARGET):
        resource_id = target.get("resourceId")
        if isinstance(resource_id, str) and isinstance(name, str):
            if resource_id.startswith(f"endpoint/{name}/"):
                return target
        elif resource_id is UNKNOWN and refers(target, "resourceId", endpoint):
            return target
    return None


def autoscale_setting(stack: Stack, deployment: Resource) -> Resource | None:
    """What scales an Azure ML deployment."""
    settings = stack.of(AUTOSCALE_SETTING)
    return next((setting for setting in settings if refers(setting, "targetResourceUri", deployment)), None)


def _azure_ml(stack: Stack) -> Iterator[Machines]:
    for deployment in stack.of(ONLINE_DEPLOYMENT):
        setting = autoscale_setting(stack, deployment)
        count = number(deployment.get("sku.capacity"))
        least = number(setting.get("profiles.0.capacity.minimum")) if setting else count
        most = number(setting.get("profiles.0.capacity.maximum")) if setting else count
        type_ = deployment.get("properties.instanceType")
        yield Machines(deployment, "azure", type_, location(deployment), least, most)
    for compute in stack.of(COMPUTE):
        scale = "properties.properties.scaleSettings"
        least, most = number(compute.get(f"{scale}.minNodeCount")), number(compute.get(f"{scale}.maxNodeCount"))
        type_ = compute.get("properties.properties.vmSize")
        yield Machines(compute, "azure", type_, location(compute), least or 0.0, most)


def location(resource: Resource) -> str:
    """Where an Azure resource stands, empty when that is not known."""
    given = resource.get("location")
    return given if isinstance(given, str) else resource.region
