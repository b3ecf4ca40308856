"""A cluster under test: nodes come and go, stacks are put on it as Pulumi would, and everything is taken away again."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

from spillway.twin.kubernetes.real.nodes import KEEPER, Machine, nodes
from spillway.twin.kubernetes.schema import shipped_crds
from tests.kubernetes.api import Api, Object
from tests.kubernetes.stacks import Planned

SERVER: Final = "app.kubernetes.io/name=model-server"
_POD: Final = {"apiVersion": "v1", "kind": "Pod"}
"""What a list leaves out of its items."""
_FIRST: Final = ("Namespace", "PriorityClass", "ServiceAccount", "ResourceQuota", "ConfigMap", "Secret")


class Cluster:
    """Knows what it put there."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._applied: list[Object] = []
        self._nodes: list[str] = []

    def add_nodes(self, machine: Machine, count: int, pool: str, keeper: str = KEEPER, zone: int = 0) -> list[str]:
        """Ready when this returns; the first is in that zone."""
        names = []
        for node in nodes(machine, count, pool, keeper, zone):
            self.api.create(node)
            names.append(node["metadata"]["name"])
        self._nodes += names
        self.api.until(
            "/api/v1/nodes", lambda found: sum(map(is_ready, found)) >= len(self._nodes), what="nodes are ready"
        )
        return names

    def knows(self, node: str) -> None:
        """One that somebody else made; it is gone in the end, too."""
        self._nodes.append(node)

    def remove_node(self, name: str) -> None:
        self._nodes.remove(name)
        self.api.delete(f"/api/v1/nodes/{name}")

    def install_kinds(self, objects: Iterable[Object]) -> None:
        """The custom kinds of these objects, whose charts bring them before."""
        groups = {one["apiVersion"].partition("/")[0] for one in objects}
        wanted = [crd for crd in shipped_crds() if crd["spec"]["group"] in groups]
        for crd in wanted:
            self.api.apply({key: value for key, value in crd.items() if key != "source"})
        kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self.api.until(kinds, lambda found: all(map(_is_established, found)), what="kinds are served")
        for crd in wanted:
            spec = crd["spec"]
            self.api.until_served(f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["kind"])

    def put(self, stack: Planned | Iterable[Object], **changes: Any) -> list[Object]:
        """Apply a stack's objects, in an order that their references allow; returns what the server made of them."""
        objects = list(stack.objects if isinstance(stack, Planned) else stack)
        objects.sort(key=lambda one: _FIRST.index(one["kind"]) if one["kind"] in _FIRST else len(_FIRST))
        self.install_kinds(objects)
        made = [self.api.apply(copy.deepcopy(one)) for one in objects]
        self._applied += [one for one in made if one not in self._applied]
        return made

    def pods(self, stack: Planned, name: str = "model-server") -> list[Object]:
        return self.api.list(self.home(stack, name), f"app.kubernetes.io/name={name}")

    def home(self, stack: Planned, name: str = "model-server") -> str:
        """Where the pods of a workload are listed."""
        space = {"gateway": "gateway", "redis": "system"}.get(name, "serving")
        return f"/api/v1/namespaces/{stack.prefix}-{space}/pods"

    def until_ready(self, stack: Planned, count: int, within_s: float = 60.0, name: str = "model-server") -> float:
        """Seconds until exactly ``count`` pods of the workload are ready, and none is on its way out."""

        def all_there(found: list[Object]) -> bool:
            return len(found) == count and all(map(is_ready, found)) and not any(map(is_going, found))

        labels = f"app.kubernetes.io/name={name}"
        return self.api.until(self.home(stack, name), all_there, within_s, f"{count} {name} ready", labels)

    def clear(self) -> None:
        """No pod, no node and nothing of a stack is left but its namespaces, which take a cluster ten seconds each."""
        self._delete([one for one in self._applied if one["kind"] != "Namespace"])
        # What would make pods anew goes first.
        for path in ("/apis/apps/v1/statefulsets", "/apis/apps/v1/replicasets"):
            self.api.until(path, lambda found: not found, 90, f"{path} is empty")
        for pod in self.api.list("/api/v1/pods"):
            self.api.delete(self.api.path({**_POD, **pod}), grace_s=0)
        self.api.until("/api/v1/pods", lambda found: not found, 90, "no pod is left")
        self.api.until("/api/v1/namespaces", lambda found: not any(map(is_going, found)), 90, "none is on its way out")
        for name in self._nodes:
            self.api.delete(f"/api/v1/nodes/{name}")
        self.api.until("/api/v1/nodes", lambda found: not found, what="nodes are gone")
        self._applied, self._nodes = [], []

    def take_away(self, stack: Planned) -> None:
        """All of it, as `pulumi destroy` does."""
        self._delete(stack.objects)
        ours = {one["metadata"]["name"] for one in stack.objects if one["kind"] == "Namespace"}
        gone = lambda found: not ours & {one["metadata"]["name"] for one in found}  # noqa: E731
        self.api.until("/api/v1/namespaces", gone, 90, "its namespaces are gone")

    def _delete(self, things: Iterable[Object]) -> None:
        for path in dict.fromkeys(self.api.path(one) for one in reversed(list(things))):
            self.api.delete(path)


def is_ready(thing: Object) -> bool:
    """A pod or a node whose condition Ready holds."""
    conditions = thing.get("status", {}).get("conditions") or ()
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def is_going(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def why_pending(pods: list[Object]) -> list[str]:
    """What the scheduler says of the pods that it found no node for."""
    conditions = [one for pod in pods for one in pod.get("status", {}).get("conditions", ())]
    return [one["message"] for one in conditions if one.get("reason") == "Unschedulable"]


def _is_established(crd: Object) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any((one["type"], one["status"]) == ("Established", "True") for one in conditions)
