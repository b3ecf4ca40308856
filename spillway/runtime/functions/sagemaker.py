"""SageMaker for the cost signal and the cut-off: live instances of endpoints, and their minimum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spillway.contracts.function_config import HeldEndpoint, SageMakerSource
from spillway.runtime.functions.aws import client
from spillway.runtime.functions.site import CapacityError, Live

SAGEMAKER = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def read(asked: Mapping[str, Any], sagemaker: Any = None) -> list[Live]:
    """Live instances of every variant of each endpoint, with the type that it really has; during a rollout of both
    fleets, which are both paid."""
    sagemaker = sagemaker or client(SAGEMAKER)
    source = SageMakerSource(tuple(asked["endpoints"]))
    return [one for name in source.endpoints for one in _instances(sagemaker, name)]


def _instances(sagemaker: Any, name: str) -> Iterator[Live]:
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    if _variants(endpoint):
        yield from _fleet(sagemaker, name, endpoint)
    elif endpoint["EndpointStatus"] == "Creating":
        configured = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        yield from (Live(v["InstanceType"], v["InitialInstanceCount"], settled=False) for v in _variants(configured))
    elif endpoint["EndpointStatus"] != "Failed":
        raise CapacityError(f"endpoint {name} reports no variant")
    if coming := endpoint.get("PendingDeploymentSummary"):
        yield from _fleet(sagemaker, name, coming)


def _fleet(sagemaker: Any, name: str, described: Mapping[str, Any]) -> Iterator[Live]:
    configured = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    types = {v["VariantName"]: v.get("InstanceType") for v in _variants(configured)}
    for variant in _variants(described):
        count, instance_type = variant.get("CurrentInstanceCount"), types.get(variant["VariantName"])
        if count is None or instance_type is None:
            raise CapacityError(f"endpoint {name} does not report variant {variant['VariantName']}")
        yield Live(instance_type, count)


def _variants(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*described.get("ProductionVariants", ()), *described.get("ShadowProductionVariants", ())]


def hold(asked: Mapping[str, Any], minimum: int, held: bool, autoscaling: Any = None, sagemaker: Any = None) -> None:
    """Suspend growth of the endpoint and bring it to ``minimum``, or let it grow again."""
    autoscaling = autoscaling or client("application-autoscaling")
    target = HeldEndpoint(**asked)
    if _is_held(autoscaling, target.resource_id) != held:
        autoscaling.register_scalable_target(
            ServiceNamespace=SAGEMAKER,
            ResourceId=target.resource_id,
            ScalableDimension=DIMENSION,
            SuspendedState={"DynamicScalingOutSuspended": held, "ScheduledScalingSuspended": held},
        )
    if held:
        _shrink(sagemaker or client(SAGEMAKER), target, minimum)


def _shrink(sagemaker: Any, target: HeldEndpoint, minimum: int) -> None:
    """Bring one endpoint to its minimum; one that is being updated waits for the next minute."""
    endpoint = sagemaker.describe_endpoint(EndpointName=target.endpoint)
    desired = {v["VariantName"]: v.get("DesiredInstanceCount", 0) for v in endpoint.get("ProductionVariants", ())}
    if endpoint["EndpointStatus"] != "InService" or desired.get(target.variant, 0) <= minimum:
        return
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=target.endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": target.variant, "DesiredInstanceCount": minimum}],
    )


def _is_held(autoscaling: Any, resource_id: str) -> bool:
    answer = autoscaling.describe_scalable_targets(
        ServiceNamespace=SAGEMAKER, ResourceIds=[resource_id], ScalableDimension=DIMENSION
    )
    (target,) = answer["ScalableTargets"]
    return target.get("SuspendedState", {}).get("DynamicScalingOutSuspended", False)
