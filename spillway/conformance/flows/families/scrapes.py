"""Prometheus → targets, adapter → Prometheus, autoscalers → what they scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.doors import cluster_services, pod_policies
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.workloads import CHART, Pod, chart_pod
from spillway.conformance.flows.world import World
from spillway.conformance.graph import chart_of
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

_API: Final = "kubernetes:monitoring.coreos.com/v1:"
_STACK: Final = "kube-prometheus-stack"
_LABELS: Final = {"app.kubernetes.io/name": "prometheus"}


def flows(world: World) -> Iterator[Flow]:
    prometheus = chart_pod(world.graph, _STACK, _LABELS)
    if prometheus is None:
        return
    for monitor in world.graph.of(f"{_API}PodMonitor"):
        yield from _pods(world, prometheus, monitor)
    for monitor in world.graph.of(f"{_API}ServiceMonitor"):
        yield from _services(world, prometheus, monitor)
    for pod in world.pods:
        if number := pod.port("metrics"):
            door = Door("monitor", partial(_monitored, world, pod))
            yield Flow("prometheus", f"pods of {pod.name}", f"tcp/{number}", (door,))
    for release in world.graph.of(CHART):
        if chart_of(release) == "prometheus-adapter":
            doors = (Door("address", partial(_adapter, release, prometheus)),)
            yield Flow("prometheus-adapter", "prometheus", f"tcp/{release.get('values.prometheus.port')}", doors)


def _chosen(monitor: Resource, key: str, kind: str, prometheus: Pod) -> Iterator[Closed]:
    """Unless told otherwise, the chart's Prometheus takes the monitors of its own release only."""
    if prometheus.resource.get(f"values.prometheus.prometheusSpec.{key}") is not False:
        yield Closed(
            prometheus.resource,
            f"values.prometheus.prometheusSpec.{key}",
            f"Prometheus takes no {kind} but the chart's own, and so not {monitor.name}",
            f"Set {key} to false.",
        )


def _monitored(world: World, pod: Pod) -> Iterator[Closed]:
    """A pod that publishes metrics on a port of that name is meant to be asked for them."""
    for monitor in world.graph.of(f"{_API}PodMonitor"):
        if pod.namespace in _namespaces(monitor) and pod_policies.selects(monitor.get("spec.selector"), pod.labels):
            return
    for monitor in world.graph.of(f"{_API}ServiceMonitor"):
        if any(pod in cluster_services.behind(world, one) for one in _selected(world, monitor)):
            return
    yield Closed(pod.resource, "", f"no monitor tells Prometheus of pod {pod.name}'s metrics", "Add a PodMonitor.")


def _selected(world: World, monitor: Resource) -> list[Resource]:
    """The Services that a ServiceMonitor selects."""
    return [
        one
        for one in world.graph.of(cluster_services.SERVICE)
        if one.get("metadata.namespace") in _namespaces(monitor)
        and pod_policies.selects(monitor.get("spec.selector"), one.get("metadata.labels") or {})
    ]


def _namespaces(monitor: Resource) -> tuple[str, ...]:
    named = monitor.get("spec.namespaceSelector.matchNames")
    return tuple(named) if named else (str(monitor.get("metadata.namespace")),)


def _pods(world: World, prometheus: Pod, monitor: Resource) -> Iterator[Flow]:
    chosen = Door(
        "Prometheus' selector",
        partial(_chosen, monitor, "podMonitorSelectorNilUsesHelmValues", "PodMonitor", prometheus),
    )
    own = [one for one in world.pods if one.namespace in _namespaces(monitor)]
    found = [one for one in own if pod_policies.selects(monitor.get("spec.selector"), one.labels)]
    ports = {_port_key(one) for one in monitor.get("spec.podMetricsEndpoints") or ()}
    made_by_chart = any(one.props.get("namespace") in _namespaces(monitor) for one in world.graph.of(CHART))
    for port in sorted(ports, key=str):
        doors = [chosen]
        if not made_by_chart or found:
            doors.append(Door("targets", partial(_has_port, monitor, found, port)))
        for pod in found:
            if number := pod.port(port):
                doors += cluster_services.pod_to_pod(world, prometheus, pod, number)
        yield Flow("prometheus", str(monitor.get("metadata.name")), f"tcp/{_number(found, port)}", tuple(doors))


def _number(pods: list[Pod], port: Any) -> Any:
    return next((number for pod in pods if (number := pod.port(port))), port)


def _port_key(endpoint: Mapping[str, Any]) -> Any:
    return endpoint.get("port") or endpoint.get("portNumber") or endpoint.get("targetPort")


def _has_port(monitor: Resource, pods: list[Pod], port: Any) -> Iterator[Closed]:
    if not pods:
        yield Closed(
            monitor, "spec.selector", "the monitor selects no pod of the plan", "Let it select the pods' labels."
        )
    elif all(pod.port(port) is None for pod in pods):
        yield Closed(
            monitor, "spec.podMetricsEndpoints", f"none of its pods has a port {port}", "Name a port that one has."
        )


def _services(world: World, prometheus: Pod, monitor: Resource) -> Iterator[Flow]:
    chosen = Door(
        "Prometheus' selector",
        partial(_chosen, monitor, "serviceMonitorSelectorNilUsesHelmValues", "ServiceMonitor", prometheus),
    )
    found = _selected(world, monitor)
    for endpoint in monitor.get("spec.endpoints") or ():
        port = _port_key(endpoint)
        doors = [chosen, Door("targets", partial(_has_service, monitor, found))]
        for service in found:
            doors += cluster_services.calls_pods(world, prometheus, service, port)
        yield Flow("prometheus", str(monitor.get("metadata.name")), f"tcp/{port}", tuple(doors))


def _has_service(monitor: Resource, services: list[Resource]) -> Iterator[Closed]:
    if not services:
        yield Closed(
            monitor, "spec.selector", "the monitor selects no Service of the plan", "Let it select its labels."
        )


def _adapter(release: Resource, prometheus: Pod) -> Iterator[Closed]:
    """The chart names Prometheus' Service ``<fullname>-prometheus``, on port 9090."""
    full = prometheus.resource.get("values.fullnameOverride") or prometheus.resource.props.get("name")
    wanted = f"http://{full}-prometheus.{prometheus.namespace}.svc"
    if release.get("values.prometheus.url") != wanted or release.get("values.prometheus.port") not in (9090, "9090"):
        yield Closed(
            release,
            "values.prometheus",
            "the adapter asks where no Prometheus of the plan answers",
            f"Ask {wanted}:9090.",
        )


FAMILY: Final = Family(
    "flow-metrics",
    "Prometheus reaches each of its targets, and the adapter reaches Prometheus",
    Source(
        "Prometheus Operator: getting started, how monitors are selected",
        "https://github.com/prometheus-operator/prometheus-operator/blob/v0.69.1/Documentation/user-guides/getting-started.md",
        "0.69.1",
    ),
    flows,
)
