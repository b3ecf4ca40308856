"""Controllers in the cluster that must run before the objects they act for, and until these are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from spillway.conformance.graph import Graph, chart_of
from spillway.conformance.life_cycle.order import Order
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import text
from spillway.contracts.resources import Resource

_RELEASE: Final = "kubernetes:helm.sh/v3:Release"
_BALANCER: Final = "service.beta.kubernetes.io/aws-load-balancer-type"


def _is_balanced(resource: Resource) -> bool:
    if resource.type != "kubernetes:core/v1:Service" or resource.get("spec.type") != "LoadBalancer":
        return False
    annotations = resource.get("metadata.annotations")
    given = annotations.get(_BALANCER) if isinstance(annotations, dict) else None
    return given in ("external", "nlb-ip") or text(resource.get("spec.loadBalancerClass")) == "service.k8s.aws/nlb"


def _is_monitor(resource: Resource) -> bool:
    return resource.type.startswith("kubernetes:monitoring.coreos.com/")


def _is_certificate(resource: Resource) -> bool:
    return resource.type.startswith("kubernetes:cert-manager.io/")


_SERVED: Final[tuple[tuple[str, Callable[[Resource], bool]], ...]] = (
    ("aws-load-balancer-controller", _is_balanced),
    ("kube-prometheus-stack", _is_monitor),
    ("cert-manager", _is_certificate),
)
"""Chart of a controller → what it acts for."""


def _controllers(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    for chart, serves in _SERVED if order.told else ():
        releases = [r for r in graph.of(_RELEASE) if chart_of(r) == chart]
        for served in filter(serves, graph.resources):
            early = [r.name for r in releases if r.provider == served.provider and not order.outlives(r, served)]
            if early:
                yield Finding(
                    "kubernetes-controller-outlives-objects",
                    served,
                    "",
                    f"{chart} acts for it, and nothing ties it to {', '.join(early)}: `destroy` may take the controller"
                    " first, and then nobody takes away what it made, nor the object's finalizer",
                    "Let it depend on the chart.",
                )


RULES: Final = (
    Rule(
        "kubernetes-controller-outlives-objects",
        "Who made a load balancer for a Service has to take it away again, before the Service can go.",
        Source(
            "AWS Load Balancer Controller: Network Load Balancer",
            "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/",
            "2026-11-29",
        ),
        _controllers,
    ),
)
