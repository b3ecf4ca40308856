"""What runs in the cluster: the pods of the plan's workloads, and of the charts that it installs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spillway.conformance.graph import Graph, chart_of
from spillway.contracts.resources import Resource

_TEMPLATES: Final = {
    "kubernetes:apps/v1:Deployment": "spec.template",
    "kubernetes:apps/v1:StatefulSet": "spec.template",
    "kubernetes:apps/v1:DaemonSet": "spec.template",
    "kubernetes:batch/v1:Job": "spec.template",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template",
}
GROUP: Final = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
_LEADER: Final = "leaderworkerset.sigs.k8s.io/worker-index"
_MEMBERS: Final = {"leaderTemplate": "0", "workerTemplate": "1"}
"""Template -> the index that the controller gives the first pod of it
(https://lws.sigs.k8s.io/docs/reference/labels-annotations-and-environment-variables/)."""

CHART: Final = "kubernetes:helm.sh/v3:Release"


@dataclass(frozen=True)
class Pod:
    """A pod as policies and Services see it. ``template``: where its spec stands in the resource, empty for a chart."""

    resource: Resource
    namespace: str
    labels: Mapping[str, str]
    template: str = ""

    @property
    def name(self) -> str:
        return self.labels.get("app.kubernetes.io/name") or self.resource.name

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Init containers first."""
        spec = (self.resource.get(f"{self.template}.spec") if self.template else None) or {}
        return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]

    @property
    def account(self) -> str:
        """Name of its service account."""
        found = self.resource.get(f"{self.template}.spec.serviceAccountName") if self.template else None
        return found if isinstance(found, str) else "default"

    @property
    def volumes(self) -> list[Mapping[str, Any]]:
        return (self.resource.get(f"{self.template}.spec.volumes") if self.template else None) or []

    def port(self, named: Any) -> int | None:
        """The number of a container port, by name or number; ``None`` where no container has it."""
        for container in self.containers:
            for port in container.get("ports") or ():
                if named in (port.get("name"), port.get("containerPort")):
                    return port.get("containerPort")
        return None

    def environment(self, name: str) -> tuple[str, ...]:
        """The values of a variable, over its containers."""
        found = (
            variable.get("value")
            for container in self.containers
            for variable in container.get("env") or ()
            if variable.get("name") == name
        )
        return tuple(dict.fromkeys(value for value in found if isinstance(value, str)))


def pods(graph: Graph) -> Iterator[Pod]:
    """One pod for each workload of the plan."""
    for type_, template in _TEMPLATES.items():
        for resource in graph.of(type_):
            labels = resource.get(f"{template}.metadata.labels")
            namespace = resource.get("metadata.namespace")
            if isinstance(labels, Mapping) and isinstance(namespace, str):
                yield Pod(resource, namespace, labels, template)
    for resource in graph.of(GROUP):
        yield from members(resource)


def members(group: Resource) -> Iterator[Pod]:
    """The leader of a LeaderWorkerSet's groups, and a worker."""
    namespace = group.get("metadata.namespace")
    for name, index in _MEMBERS.items():
        template = f"spec.leaderWorkerTemplate.{name}"
        labels = group.get(f"{template}.metadata.labels")
        if isinstance(labels, Mapping) and isinstance(namespace, str):
            yield Pod(group, namespace, {**labels, _LEADER: index}, template)


def chart_pod(graph: Graph, chart: str, labels: Mapping[str, str]) -> Pod | None:
    """A pod that a chart brings, by the labels that it gives it."""
    release = next((found for found in graph.of(CHART) if chart_of(found) == chart), None)
    namespace = release.props.get("namespace") if release else None
    return Pod(release, namespace, labels) if release and isinstance(namespace, str) else None
