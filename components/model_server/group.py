"""A server that spans nodes: a LeaderWorkerSet, whose leader answers and whose workers compute with it.

Labels, annotations and variables are those of LeaderWorkerSet 0.9 (https://lws.sigs.k8s.io/docs/reference/). What vLLM
is told of its nodes is in its "Running vLLM with MultiProcessing"
(https://docs.vllm.ai/en/v0.30.0/serving/parallelism_scaling/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
from pulumi_kubernetes import apiextensions, core, meta

from components.base import Component
from components.kubernetes_documents import metadata, selector
from components.model_server.settings import SpanSettings

API_VERSION: Final = "leaderworkerset.x-k8s.io/v1"
KIND: Final = "LeaderWorkerSet"
_PREFIX: Final = "leaderworkerset.sigs.k8s.io"
LEADERS: Final = {f"{_PREFIX}/worker-index": "0"}
"""Label of the pods that answer."""
_GROUP_KEY: Final = f"{_PREFIX}/group-key"
_EXCLUSIVE: Final = f"{_PREFIX}/exclusive-topology"
_RANK, _LEADER = "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)"
"""Variables that the controller gives each container; the kubelet puts them into the command."""


@dataclass(frozen=True)
class Pods:
    """What a group is made of. ``annotations``: of every pod."""

    leader: core.v1.PodSpecArgs
    worker: core.v1.PodSpecArgs
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Fabric:
    """By what the nodes of a server exchange what they compute. ``devices``: what each pod asks for, which is what it
    may have; ``environment``: what its libraries are told."""

    devices: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def efa(interfaces: int, huge_pages_mib: int) -> Fabric:
    """Elastic Fabric Adapters, of each pod. NCCL finds their plugin on the library path of an image that has it; these
    keep libfabric from anything else: https://github.com/aws/aws-ofi-nccl, and for GPUDirect RDMA
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start-nccl.html"""
    return Fabric(
        devices={"vpc.amazonaws.com/efa": str(interfaces), "hugepages-2Mi": f"{huge_pages_mib}Mi"},
        environment={"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1"},
    )


def set_name(server: str) -> str:
    """Of the set. Its controller makes a Service of that name, by which workers find a leader that is not ready yet;
    the gateways' is another one."""
    return f"{server}-group"


def arguments(nodes: int, *, leads: bool) -> dict[str, Any]:
    """vLLM's, of one node of a group; those that share a copy's layers or hold further copies are told alike."""
    workers = {} if leads else {"headless": True}
    return {"nnodes": nodes, "node-rank": _RANK, "master-addr": _LEADER, **workers}


def together(server: str, span: SpanSettings) -> core.v1.AffinityArgs | None:
    """What keeps a group's pods in one domain of the topology, where the controller does not see to it."""
    if span.exclusive:
        return None
    term = core.v1.PodAffinityTermArgs(
        topology_key=span.topology,
        label_selector=meta.v1.LabelSelectorArgs(match_labels=selector(server)),
        match_label_keys=[_GROUP_KEY],
    )
    return core.v1.AffinityArgs(
        pod_affinity=core.v1.PodAffinityArgs(required_during_scheduling_ignored_during_execution=[term])
    )


def leader_worker_set(
    component: Component,
    server: str,
    pods: Pods,
    span: SpanSettings,
    *,
    groups: int,
    spare: bool,
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """``spare``: there is room for one group more than the autoscaler may start."""
    name, namespace = set_name(server), component.context.namespaces.serving
    # A tool that applies it waits until every group answers.
    # https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/, pulumi.com/waitFor
    annotations: dict[str, pulumi.Input[str]] = {"pulumi.com/waitFor": "condition=Available"}
    if span.exclusive:
        annotations[_EXCLUSIVE] = span.topology
    surge = {"maxSurge": int(spare), "maxUnavailable": int(not spare)}
    template = {
        "size": span.nodes,
        # One that waits for its package is no reason to begin anew: the others wait for it.
        "restartPolicy": "RecreateGroupAfterStart",
        "leaderTemplate": _template(component, server, pods.leader, pods.annotations),
        "workerTemplate": _template(component, server, pods.worker, pods.annotations),
    }
    return apiextensions.CustomResource(
        f"{component.context.prefix}-{name}",
        api_version=API_VERSION,
        kind=KIND,
        metadata=metadata(component.context, name, namespace, annotations=annotations),
        spec={
            "replicas": groups,
            "leaderWorkerTemplate": template,
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": surge},
        },
        opts=opts,
    )


def _template(
    component: Component, server: str, pod: core.v1.PodSpecArgs, annotations: Mapping[str, str]
) -> core.v1.PodTemplateSpecArgs:
    labels = {**component.context.labels, **selector(server)}
    return core.v1.PodTemplateSpecArgs(
        metadata=meta.v1.ObjectMetaArgs(labels=labels, annotations=dict(annotations)), spec=pod
    )
