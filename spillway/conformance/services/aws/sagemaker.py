"""What only SageMaker's and the provider's documentation says of one resource."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.aws.policies import statements, texts
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.resources import UNKNOWN, Resource

_READ: Final = "2026-11-29"
_TRAFFIC: Final = Source(
    "SageMaker API: TrafficRoutingConfig",
    "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TrafficRoutingConfig.html",
    "2026-11-29",
)
_POLICY: Final = "deploymentConfig.blueGreenUpdatePolicy"


@rule(
    "sagemaker-traffic-step",
    "A canary is at most half of the variant's instances, a linear step a tenth to half of them.",
    _TRAFFIC,
)
def _traffic_step(graph: Graph) -> Iterator[Found]:
    for endpoint in graph.of("aws:sagemaker/endpoint:Endpoint"):
        routing = endpoint.get(f"{_POLICY}.trafficRoutingConfiguration")
        key = {"CANARY": "canarySize", "LINEAR": "linearStepSize"}.get(endpoint.get(_ROUTING) or "")
        size = routing.get(key) if isinstance(routing, Mapping) and key else None
        fewest = _fewest_instances(graph, endpoint)
        if not isinstance(size, Mapping) or fewest is None:
            continue
        share = _share(size, fewest)
        if share is not None and share > 0.5:
            yield (
                endpoint,
                f"{_POLICY}.trafficRoutingConfiguration.{key}",
                f"takes {share:.0%} of {fewest} instances at once, where half is the most: the next update is refused",
                "Start with two instances (`burst.sagemaker.min_instances`), or shift all at once.",
            )


_ROUTING: Final = f"{_POLICY}.trafficRoutingConfiguration.type"


def _fewest_instances(graph: Graph, endpoint: Resource) -> int | None:
    """Of its variants that have a number of instances."""
    wanted = endpoint.get("endpointConfigName")
    configurations = graph.of("aws:sagemaker/endpointConfiguration:EndpointConfiguration")
    found = [each for each in configurations if wanted and wanted in (each.get("name"), each.id)]
    counts = [
        variant.get("initialInstanceCount") for each in found for variant in items(each.get("productionVariants"))
    ]
    known = [int(count) for count in counts if isinstance(count, int | float)]
    return min(known) if known else None


def _share(size: Mapping[str, Any], instances: int) -> float | None:
    value = size.get("value")
    if not isinstance(value, int | float):
        return None
    taken = math.ceil(instances * value / 100) if size.get("type") == "CAPACITY_PERCENT" else value
    return max(taken, 1) / instances


@rule(
    "sagemaker-update-time",
    "An update may take 600 to 14400 seconds.",
    Source(
        "Terraform's AWS provider, internal/service/sagemaker/endpoint.go: IntBetween(600, 14400)",
        "https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/sagemaker/endpoint.go",
        "2026-11-30",
    ),
)
def _update_time(graph: Graph) -> Iterator[Found]:
    path = f"{_POLICY}.maximumExecutionTimeoutInSeconds"
    for endpoint in graph.of("aws:sagemaker/endpoint:Endpoint"):
        seconds = endpoint.get(path)
        if isinstance(seconds, int | float) and not 600 <= seconds <= 14400:
            yield endpoint, path, "the provider takes 600 to 14400", "Set `rollout.max_execution_s` within that."


@rule(
    "sagemaker-async-caller",
    "An asynchronous endpoint works off what somebody with the right to it enqueues by InvokeEndpointAsync.",
    Source(
        "SageMaker runtime API: InvokeEndpointAsync",
        "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html",
        "2026-11-30",
    ),
)
def _async_caller(graph: Graph) -> Iterator[Found]:
    documents = [each.get("policy") for each in graph.of(*_POLICIES)]
    if UNKNOWN in documents:
        return
    allowed = [each for one in documents for each in statements(one) if each.get("Effect") == "Allow"]
    for endpoint in graph.of("aws:sagemaker/endpoint:Endpoint"):
        configuration = graph.named(endpoint.get("endpointConfigName"), _CONFIGURATION)
        if configuration is None or not configuration.get("asyncInferenceConfig"):
            continue
        place = f"endpoint/{endpoint.get('name')}"
        if not any(_enqueues(each, place) for each in allowed):
            yield (
                endpoint,
                "",
                "nobody in the stack may call InvokeEndpointAsync of it: it costs, and nothing is ever in its queue",
                "Give a client that right, or set `burst.sagemaker.asynchronous: null`.",
            )


_POLICIES: Final = ("aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy", "aws:iam/userPolicy:UserPolicy")
_CONFIGURATION: Final = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"


def _enqueues(statement: Mapping[str, Any], place: str) -> bool:
    named = any(fnmatchcase("sagemaker:invokeendpointasync", each.lower()) for each in texts(statement.get("Action")))
    ends = [each.rsplit(":", 1)[-1] for each in texts(statement.get("Resource"))]
    return named and any(fnmatchcase(place, end) for end in ends)


RULES: Final[tuple[Rule, ...]] = (_traffic_step, _update_time, _async_caller)
