"""Inside the cluster: gateway → model servers, model servers → cache, and the nodes of one server with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from typing import Final

from spillway.conformance.flows.doors import cluster_services
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import gateways
from spillway.conformance.flows.workloads import GROUP, Pod, members
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

_CHOSEN: Final = (32768, 60999)
"""Bounds of what Linux gives: net.ipv4.ip_local_port_range, https://docs.kernel.org/networking/ip-sysctl.html."""
_CACHE: Final = re.compile(r"--cache-config=redis,(host|port)=(\S+)")


def flows(world: World) -> Iterator[Flow]:
    for gateway in gateways(world):
        for site in gateway.sites:
            pod, host = gateway.caller.pod, str(site.get("host"))
            if pod and ".svc" in host:
                yield _to(world, pod, host, int(site.get("port") or 0), gateway.caller.resource)
    for pod in world.pods:
        cache = {match[1]: match[2] for text in _arguments(pod) if (match := _CACHE.fullmatch(text))}
        if "host" in cache:
            yield _to(world, pod, cache["host"], int(cache.get("port", 6379)), pod.resource)
    for group in world.graph.of(GROUP):
        yield from _among(world, list(members(group)))


def _among(world: World, pods: list[Pod]) -> Iterator[Flow]:
    """Both ways, on a port that NCCL and ZeroMQ choose: any that Linux gives, so the first and the last of them."""
    for one, other in permutations(pods, 2):
        for port in _CHOSEN:
            doors = [*cluster_services.looks_up(world, one), *cluster_services.pod_to_pod(world, one, other, port)]
            yield Flow(f"{one.name} {_role(one)}", _role(other), f"tcp/{port}", tuple(doors))


def _role(pod: Pod) -> str:
    return "leader" if pod.template.endswith("leaderTemplate") else "worker"


def _arguments(pod: Pod) -> list[str]:
    return [
        str(text)
        for container in pod.containers
        for text in (*(container.get("command") or ()), *(container.get("args") or ()))
    ]


def _to(world: World, pod: Pod, host: str, port: int, told: Resource) -> Flow:
    service = cluster_services.named(world, host)
    doors = [*cluster_services.looks_up(world, pod), Door("name", partial(_known, host, service, told))]
    if service:
        doors += cluster_services.calls_pods(world, pod, service, port)
    return Flow(pod.name, host.partition(".")[0], f"tcp/{port}", tuple(doors))


def _known(host: str, service: Resource | None, told: Resource) -> Iterator[Closed]:
    if service is None:
        yield Closed(told, "", f"no Service of the plan has the name {host}", "Make the Service, or name another.")


FAMILY: Final = Family(
    "flow-pods",
    "Pods reach the Services that they are told to call",
    Source(
        "Kubernetes: Network Policies",
        "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
        "2026-11-29",
    ),
    flows,
)
