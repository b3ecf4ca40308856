"""Places of servers to come, held by pods of no use: a server takes one at once, and its node is there before the next.

The pod that gave way waits, which makes the node autoscaler start a node: what it waits for is nobody's request. So it
is below everybody, and above what that autoscaler takes for expendable
(https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md, overprovisioning).
"""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component
from components.kubernetes_documents import container_security, metadata, pod_security, selector

NAME: Final = "spare-server"
PRIORITY: Final = -1
_ALIVE: Final = k8s.core.v1.ProbeArgs(exec_=k8s.core.v1.ExecActionArgs(command=["true"]), period_seconds=60)


def priority_class(owner: Component) -> pulumi.Output[str]:
    """Of pods that everybody may put out."""
    name = f"{owner.context.prefix}-spare"
    made = k8s.scheduling.v1.PriorityClass(
        name,
        metadata=metadata(owner.context, name),
        value=PRIORITY,
        preemption_policy="Never",
        description="Pods that hold places of servers to come.",
        opts=owner.child(),
    )
    return made.metadata.name.apply(lambda found: found or name)


def hold(
    owner: Component,
    count: int,
    server: k8s.core.v1.PodSpecArgs,
    resources: k8s.core.v1.ResourceRequirementsArgs,
    image: str,
    after: list[pulumi.Resource],
) -> None:
    """``server``: of whose kind the places are; ``image``: any with a shell, which its nodes have."""
    name, namespace = NAME, owner.context.namespaces.serving
    labels = {**owner.context.labels, **selector(name)}
    container = k8s.core.v1.ContainerArgs(
        name="place",
        image=image,
        command=["sleep", "infinity"],
        resources=resources,
        security_context=container_security(),
        readiness_probe=_ALIVE,
        liveness_probe=_ALIVE,
    )
    pod = k8s.core.v1.PodSpecArgs(
        automount_service_account_token=False,
        image_pull_secrets=server.image_pull_secrets,
        priority_class_name=priority_class(owner),
        security_context=pod_security(),
        termination_grace_period_seconds=0,
        tolerations=server.tolerations,
        containers=[container],
    )
    # No Deployment: nobody waits until they are ready, and a drain need not ask for them.
    k8s.apps.v1.ReplicaSet(
        f"{owner.context.prefix}-{name}",
        metadata=metadata(owner.context, name, namespace),
        spec=k8s.apps.v1.ReplicaSetSpecArgs(
            replicas=count,
            selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(name)),
            template=k8s.core.v1.PodTemplateSpecArgs(metadata=k8s.meta.v1.ObjectMetaArgs(labels=labels), spec=pod),
        ),
        # A ReplicaSet leaves pods that are there as they are.
        opts=pulumi.ResourceOptions.merge(
            owner.child(depends_on=after, delete_before_replace=True),
            pulumi.ResourceOptions(replace_on_changes=["spec.template"]),
        ),
    )
