"""The gateways of a plan: what each was told to reach, and as what it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spillway.conformance.flows.addresses import ANYWHERE
from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import cluster_services, pod_identities, pod_policies, rights
from spillway.conformance.flows.doors.vpc_endpoints import Place, api, caller_context, internet, service_of
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource
from spillway.contracts.task_files import FILES_VARIABLE, unpack

SERVICE: Final = "aws:ecs/service:Service"
TASK: Final = "aws:ecs/taskDefinition:TaskDefinition"
_TABLE: Final = "routing.json"


@dataclass(frozen=True)
class Caller:
    """Whoever begins a flow. ``place``: in a VPC; ``None`` elsewhere. ``role``: of a task or function."""

    name: str
    resource: Resource
    place: Place | None = None
    pod: Pod | None = None
    role: Any = None
    trusted: tuple[rights.Trusted, ...] = ()


@dataclass(frozen=True)
class Gateway:
    """``table``: the routing table as it is deployed."""

    caller: Caller
    table: Mapping[str, Any]

    @property
    def sites(self) -> list[Mapping[str, Any]]:
        return list(self.table.get("sites") or ())


def pod_caller(world: World, pod: Pod) -> Caller:
    """A pod of the cluster: in a VPC where the plan puts the nodes there."""
    return Caller(pod.name, pod.resource, Place(world.node_subnets) if world.node_subnets else None, pod)


def reaches(world: World, caller: Caller, host: str, calls: Sequence[Call] = (), port: int = 443) -> list[Door]:
    """The doors from a caller to a public name or an API of AWS: lookup, firewalls, way, endpoint policy."""
    doors: list[Door] = []
    if caller.pod:
        doors += cluster_services.looks_up(world, caller.pod)
        doors.append(Door("NetworkPolicy out", lambda: _out(world, caller.pod, port)))
    if caller.place:
        service = service_of(host, world.region)
        own = [Call(one.action, one.resource, {**caller_context(world.account), **one.context}) for one in calls]
        doors += api(world, caller.place, service, own) if service else internet(world, caller.place, port)
    return doors


def _out(world: World, pod: Pod | None, port: int) -> Iterator[Closed]:
    if pod:
        yield from pod_policies.allow(world, pod, "egress", pod_policies.Peer(ranges=(ANYWHERE,)), port)


def signs(world: World, caller: Caller, calls: Sequence[Call]) -> list[Door]:
    """The doors between a caller and the right to make these calls of AWS."""
    if caller.pod:
        exchange = pod_identities.token_exchange(world, caller.place, caller.pod) if caller.place else []
        return [*exchange, *pod_identities.by_token(world, caller.pod, calls)]
    return rights.identity(world, caller.role, caller.trusted, calls, caller.resource)


def calls_aws(world: World, caller: Caller, host: str, calls: Sequence[Call]) -> tuple[Door, ...]:
    """Every door of a signed call."""
    return (*reaches(world, caller, host, calls), *signs(world, caller, calls))


def gateways(world: World) -> list[Gateway]:
    """The private one by the ConfigMap that its pod mounts, the one in Fargate by the files of its task."""
    return [*_in_cluster(world), *_in_tasks(world)]


def _in_cluster(world: World) -> Iterator[Gateway]:
    for found in world.graph.of("kubernetes:core/v1:ConfigMap"):
        table = document((found.props.get("data") or {}).get(_TABLE))
        for pod in world.pods:
            mounted = {(volume.get("configMap") or {}).get("name") for volume in pod.volumes}
            if table and pod.namespace == found.get("metadata.namespace") and found.get("metadata.name") in mounted:
                yield Gateway(pod_caller(world, pod), table)


def _in_tasks(world: World) -> Iterator[Gateway]:
    for task in world.graph.of(TASK):
        for service in world.graph.of(SERVICE):
            if service.props.get("taskDefinition") not in (task.outputs.get("arn"), task.id):
                continue
            for table in _tables(task):
                trusted = tuple(rights.service(world, "ecs-tasks"))
                role = task.props.get("taskRoleArn")
                yield Gateway(Caller("standby gateway", task, place_of(service), None, role, trusted), table)


def place_of(service: Resource) -> Place:
    """Where the tasks of an ECS service stand."""
    network = service.props.get("networkConfiguration") or {}
    return Place(tuple(network.get("subnets") or ()), tuple(network.get("securityGroups") or ()))


def containers(task: Resource) -> list[Mapping[str, Any]]:
    found = document(task.props.get("containerDefinitions"))
    return found if isinstance(found, list) else []


def _tables(task: Resource) -> Iterator[Mapping[str, Any]]:
    for container in containers(task):
        for variable in container.get("environment") or ():
            if variable.get("name") == FILES_VARIABLE:
                files = unpack(variable["value"])
                yield from (document(text) for path, text in files.items() if path.endswith(_TABLE))
