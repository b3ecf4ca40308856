"""What families ask of a plan again and again, found once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from spillway.conformance.flows.workloads import Pod, pods
from spillway.conformance.graph import Graph
from spillway.contracts.resources import Resource


class World:
    """A plan of which every ID is known, with what its parts run on."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def by_id(self, id_: Any, *types: str) -> Resource | None:
        """The resource with that ID, of one of these types where some are named; IDs of Azure have no case."""
        return next((found for found in self._ids.get(_folded(id_), ()) if not types or found.type in types), None)

    @cached_property
    def _ids(self) -> dict[str, list[Resource]]:
        ids: dict[str, list[Resource]] = {}
        for resource in self.graph.resources:
            ids.setdefault(_folded(resource.id), []).append(resource)
        return ids

    def by_arn(self, arn: Any, *types: str) -> Resource | None:
        found = self._arns.get(arn, ()) if isinstance(arn, str) else ()
        return next((resource for resource in found if not types or resource.type in types), None)

    @cached_property
    def _arns(self) -> dict[str, list[Resource]]:
        arns: dict[str, list[Resource]] = {}
        for resource in self.graph.resources:
            for key in ("arn", "targetGroupArn"):
                if isinstance(arn := resource.outputs.get(key), str):
                    arns.setdefault(arn, []).append(resource)
            if resource.id and resource.id.startswith("arn:"):
                arns.setdefault(resource.id, []).append(resource)
        return arns

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(pods(self.graph))

    @cached_property
    def eks(self) -> Resource | None:
        """The cluster that the stack makes in AWS."""
        return next(iter(self.graph.of("aws:eks/cluster:Cluster")), None)

    @cached_property
    def aks(self) -> Resource | None:
        """The cluster that the stack makes in Azure."""
        return next(iter(self.graph.of("azure-native:containerservice:ManagedCluster")), None)

    @cached_property
    def node_subnets(self) -> tuple[str, ...]:
        """Where the nodes of the cluster in AWS stand, and with them their pods."""
        groups = self.graph.of("aws:eks/nodeGroup:NodeGroup")
        return tuple(dict.fromkeys(str(id_) for group in groups for id_ in group.props.get("subnetIds") or ()))

    @cached_property
    def account(self) -> str:
        """The AWS account, by the ARN of any role."""
        roles = self.graph.of("aws:iam/role:Role")
        return next((str(role.outputs["arn"]).split(":")[4] for role in roles if "arn" in role.outputs), "")

    @cached_property
    def region(self) -> str:
        """The AWS region of the stack's provider."""
        return next((resource.region for resource in self.graph.resources if resource.region), "")


def _folded(id_: Any) -> str:
    return id_.lower() if isinstance(id_, str) else ""
