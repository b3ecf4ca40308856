"""Images: nodes and tasks → registries, those of charts included.

Inside AWS, registry.k8s.io sends clients to regional buckets, unsigned
(https://github.com/kubernetes/registry.k8s.io/blob/main/cmd/archeio/README.md, read 2026-11-29), and ECR keeps layers
in buckets of its own (https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import rights
from spillway.conformance.flows.doors.azure_firewalls import SUBNET
from spillway.conformance.flows.doors.vpc_endpoints import Place, api, caller_context, internet
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import TASK, containers, place_of
from spillway.conformance.flows.workloads import CHART
from spillway.conformance.flows.world import World
from spillway.conformance.graph import chart_of
from spillway.conformance.rule import Source
from spillway.contracts.image_names import split_host
from spillway.contracts.resources import Resource, at

_ECR: Final = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")
_UNSIGNED: Final[dict[str, str | None]] = {"aws:PrincipalAccount": None, "aws:SecureTransport": "true"}

CHARTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "cluster-autoscaler": (("registry.k8s.io", "image.repository"),),
    "gpu-operator": (
        ("nvcr.io", "operator.repository"),
        ("registry.k8s.io", "node-feature-discovery.image.repository"),
    ),
    "kube-prometheus-stack": (
        ("quay.io", "prometheus.prometheusSpec.image.registry"),
        ("registry.k8s.io", "kube-state-metrics.image.registry"),
        ("docker.io", "grafana.image.registry"),
    ),
    "prometheus-adapter": (("registry.k8s.io", "image.repository"),),
    "aws-load-balancer-controller": (("public.ecr.aws", "image.repository"),),
}
"""Chart → the registries of its images by default, each with the value that names another. Only registry.k8s.io has a
door of its own; of the others, the flow's name is what is told."""


def flows(world: World) -> Iterator[Flow]:
    if world.eks:
        for host, holders in sorted(_hosts(world).items()):
            doors = tuple(_from_nodes(world, Place(world.node_subnets), host, holders[0]))
            yield Flow("node", f"{host} ({', '.join(one.name for one in holders)})", "tcp/443", doors)
        yield Flow("node", "layers of the add-ons' images", "tcp/443", tuple(_layers(world, Place(world.node_subnets))))
    elif world.aks:
        hosts = ", ".join(sorted(_hosts(world)))
        yield Flow("node", hosts, "tcp/443", (Door("way out of the network", partial(_outbound, world, world.aks)),))
    yield from _tasks(world)


def _hosts(world: World) -> dict[str, list[Resource]]:
    hosts: dict[str, list[Resource]] = {}
    for pod in world.pods:
        for container in pod.containers:
            hosts.setdefault(registry(str(container.get("image"))), []).append(pod.resource)
    for release in world.graph.of(CHART):
        for default, path in CHARTS.get(chart_of(release), ()):
            hosts.setdefault(_chosen(release.props.get("values") or {}, default, path), []).append(release)
    return {host: list({one.urn: one for one in holders}.values()) for host, holders in hosts.items()}


def registry(image: str) -> str:
    """The host that an image is pulled from; without one it is Docker Hub."""
    return split_host(image)[0] or "docker.io"


def _chosen(values: Mapping[str, Any], default: str, path: str) -> str:
    everywhere, here = at(values, "global.imageRegistry"), at(values, path)
    if isinstance(everywhere, str) and everywhere:
        return everywhere.partition("/")[0]
    return registry(f"{here}/image") if isinstance(here, str) and here else default


def _from_nodes(world: World, place: Place, host: str, holder: Resource) -> list[Door]:
    if match := _ECR.fullmatch(host):
        calls = [
            Call(
                "ecr:BatchGetImage",
                f"arn:aws:ecr:{match['region']}:{match['account']}:repository/any",
                caller_context(world.account),
            )
        ]
        return [*api(world, place, "ecr.dkr", calls), *_layers(world, place)]
    doors = internet(world, place)
    if host == "registry.k8s.io":
        mirror = Call("s3:GetObject", f"arn:aws:s3:::prod-registry-k8s-io-{world.region}/any", _UNSIGNED)
        doors += api(world, place, "s3", [mirror])
    return doors


def _layers(world: World, place: Place) -> list[Door]:
    """Layers are fetched by addresses that ECR has signed itself."""
    bucket = Call("s3:GetObject", f"arn:aws:s3:::prod-{world.region}-starport-layer-bucket/any", _UNSIGNED)
    return api(world, place, "s3", [bucket])


def _outbound(world: World, cluster: Resource) -> Iterator[Closed]:
    """https://learn.microsoft.com/azure/aks/egress-outboundtype."""
    outbound = cluster.get("networkProfile.outboundType")
    subnet = world.by_id((cluster.get("agentPoolProfiles.0") or {}).get("vnetSubnetID"), SUBNET)
    if outbound == "userDefinedRouting" and subnet and not subnet.props.get("routeTable"):
        yield Closed(
            subnet,
            "routeTable",
            "nodes leave by routes of your own, and their subnet has no route table",
            "Give it one.",
        )
    if outbound == "userAssignedNATGateway" and subnet and not subnet.props.get("natGateway"):
        yield Closed(subnet, "natGateway", "nodes leave by a NAT gateway, and their subnet has none", "Give it one.")


def _tasks(world: World) -> Iterator[Flow]:
    for service in world.graph.of("aws:ecs/service:Service"):
        task = world.by_arn(service.props.get("taskDefinition"), TASK)
        for host in sorted({registry(str(one.get("image"))) for one in containers(task)} if task else ()):
            doors = _from_nodes(world, place_of(service), host, service)
            if task and (match := _ECR.fullmatch(host)):
                on = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/any"
                calls = [Call("ecr:GetAuthorizationToken"), Call("ecr:BatchGetImage", on)]
                doors += rights.identity(
                    world, task.props.get("executionRoleArn"), rights.service(world, "ecs-tasks"), calls, task
                )
            yield Flow("ECS", f"{host}", "tcp/443", tuple(doors))


FAMILY: Final = Family(
    "flow-images",
    "Nodes and tasks reach the registries of their images and of the charts' images",
    Source(
        "registry.k8s.io: how images are served inside AWS",
        "https://github.com/kubernetes/registry.k8s.io/blob/main/cmd/archeio/README.md",
        "2026-11-29",
    ),
    flows,
)
