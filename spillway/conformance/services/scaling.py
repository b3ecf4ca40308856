"""Whether what a cloud scales out to is used, and whether it ever scales out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.aws.runtime_calls import Agent, agents
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN, Resource

_TARGET: Final = "aws:appautoscaling/target:Target"
_POLICY: Final = "aws:appautoscaling/policy:Policy"
_DEPLOYMENT: Final = "azure-native:machinelearningservices:OnlineDeployment"
_CONCURRENCY: Final = (
    "SageMakerVariantConcurrentRequestsPerModelHighResolution",
    "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution",
)


def _sagemaker(site: Mapping[str, Any]) -> set[str]:
    """The endpoints that a site's paths lead to."""
    found = (re.match(r"/endpoints/([^/]+)/", str(path.get("upstream"))) for path in site.get("paths") or ())
    return {match[1] for match in found if match}


def _targets(graph: Graph, site: Mapping[str, Any]) -> list[Resource]:
    """The scalable targets of the endpoints behind a site."""
    named = {f"endpoint/{name}" for name in _sagemaker(site)}
    return [one for one in graph.of(_TARGET) if str(one.get("resourceId")).partition("/variant/")[0] in named]


def _bounds(graph: Graph, site: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """(fewest, most) instances of what scales behind a site."""
    for target in _targets(graph, site):
        yield target.get("minCapacity"), target.get("maxCapacity")
    endpoint = str(site.get("host")).partition(".inference.ml.azure.com")[0].partition(".")[0]
    behind = {one.id for one in graph.of(_DEPLOYMENT) if one.get("endpointName") == endpoint}
    for setting in graph.of("azure-native:monitor:AutoscaleSetting"):
        if setting.get("targetResourceUri") in behind:
            for profile in items(setting.get("profiles")):
                bounds = profile.get("capacity") or {}
                yield bounds.get("minimum"), bounds.get("maximum")


@rule(
    "gateway-follows-capacity",
    "Autoscaling adds instances behind an endpoint; a gateway that bounds its requests raises the bound with them.",
    Source(
        "Amazon SageMaker AI: automatic scaling; Azure ML: autoscale online endpoints",
        "https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html",
        "2026-11-30",
    ),
)
def _follows(graph: Graph) -> Iterator[Found]:
    for agent in agents(graph):
        for site in agent.routing.get("sites") or ():
            grows = any(_number(most) > _number(fewest) for fewest, most in _bounds(graph, site))
            if site.get("capacity") == "fixed" and grows:
                yield (
                    agent.resource,
                    "",
                    f"its gateway sends {site.get('site')} at most {site.get('slots')} requests at once, however many"
                    " instances autoscaling adds: they cost and get nothing",
                    "Let the routing table's `capacity` follow the live instances.",
                )
            if site.get("capacity") == "published" and not _published(graph, agent, site):
                yield (
                    agent.resource,
                    "",
                    f"its gateway waits for the live instances of {site.get('site')}, which no function writes where it"
                    " reads them",
                    "Give the cost signal the routing table's parameter, and percents to the machines of the site.",
                )


def _published(graph: Graph, agent: Agent, site: Mapping[str, Any]) -> bool:
    """Whether a function counts the site's machines, and writes where the agent reads. What is not known may do so."""
    read = (agent.routing.get("live") or {}).get("parameter")
    for function in graph.of("aws:lambda/function:Function"):
        variables = function.get("environment.variables")
        told = variables.get("SPILLWAY_COST") if isinstance(variables, Mapping) else variables
        if told is UNKNOWN:
            return True
        cost = document(told)
        if isinstance(cost, Mapping) and cost.get("live_parameter") == read:
            asked = ((cost.get("sites") or {}).get(site.get("site")) or {}).get("asked") or {}
            return any(machines.get("percent") for machines in items(asked.get("machines")))
    return False


@rule(
    "sagemaker-scaling-reachable",
    "Target tracking adds instances once the metric is above its target.",
    Source(
        "Application Auto Scaling: how target tracking works",
        "https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html",
        "2026-11-30",
    ),
)
def _reachable(graph: Graph) -> Iterator[Found]:
    for target in graph.of(_TARGET):
        sites = list(_sites(graph, target))
        most = max((_at_once(site, target) for site in sites), default=0.0)
        for policy in graph.of(_POLICY) if sites else ():
            tracking = policy.get("targetTrackingScalingPolicyConfiguration")
            if policy.get("resourceId") != target.get("resourceId") or not isinstance(tracking, Mapping):
                continue
            metric = (tracking.get("predefinedMetricSpecification") or {}).get("predefinedMetricType")
            if metric in _CONCURRENCY and most <= _number(tracking.get("targetValue")):
                yield (
                    policy,
                    "targetTrackingScalingPolicyConfiguration.targetValue",
                    f"the gateways send an instance at most {most:g} requests at once, which is not above the target:"
                    " the endpoint never scales out",
                    "Derive the target from the package's slots, such as 70 % of them.",
                )


def _sites(graph: Graph, target: Resource) -> Iterator[Mapping[str, Any]]:
    for agent in agents(graph):
        yield from (site for site in agent.routing.get("sites") or () if target in _targets(graph, site))


def _at_once(site: Mapping[str, Any], target: Resource) -> float:
    """The most requests that a gateway has at one instance, those of P0 that queue there included."""
    slots = _number(site.get("slots"))
    headroom = site.get("headroom")
    counted = _number(target.get("minCapacity") if site.get("capacity") == "fixed" else site.get("instances"))
    return (slots + (slots if headroom is None else _number(headroom))) / max(1, counted)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


RULES: Final[tuple[Rule, ...]] = (_follows, _reachable)
