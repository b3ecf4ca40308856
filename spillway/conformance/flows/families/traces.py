"""Traces: gateways and model servers of the cluster → the collector that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from spillway.conformance.flows.doors import cluster_services, pod_policies
from spillway.conformance.flows.flow import Door, Family, Flow
from spillway.conformance.flows.gateways import gateways
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.traces import PATH, Traces

_TOLD: Final = re.compile(rf"(http://[^/\s]+){PATH}$")


def flows(world: World) -> Iterator[Flow]:
    for pod, collector in _senders(world):
        place = Traces(collector=collector, percent=100)
        peer = pod_policies.Peer(place.namespace)
        doors = (
            *cluster_services.looks_up(world, pod),
            Door("NetworkPolicy out", partial(pod_policies.allow, world, pod, "egress", peer, place.port)),
        )
        yield Flow(pod.name, f"traces' collector in {place.namespace}", f"tcp/{place.port}", doors)


def _senders(world: World) -> Iterator[tuple[Pod, str]]:
    for gateway in gateways(world):
        told = gateway.table.get("traces")
        if told and gateway.caller.pod:
            yield gateway.caller.pod, told["collector"]
    for pod in world.pods:
        words = (word for one in pod.containers for part in ("command", "args") for word in one.get(part) or ())
        if found := next(filter(None, (_TOLD.search(str(word)) for word in words)), None):
            yield pod, found[1]


FAMILY: Final = Family(
    "flow-traces",
    "Gateways and model servers reach the collector of their traces",
    Source(
        "OpenTelemetry protocol: OTLP over HTTP",
        "https://opentelemetry.io/docs/specs/otlp/#otlphttp",
        "1.9.0",
    ),
    flows,
)
