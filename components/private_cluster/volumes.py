"""The storage class of what pods claim on EKS, which has had no default one since Kubernetes 1.30
(https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions-extended.html): a claim that names none waits for
ever. Disks are encrypted with the stack's own key, and carry its tags, by which bills are divided
(https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/parameters.md, and tagging.md beside it).
"""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component
from components.kubernetes_documents import metadata

PROVISIONER: Final = "ebs.csi.aws.com"


def storage_class(owner: Component, key_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Its name. A disk is made in the zone where the pod finds a node, and goes when its claim does."""
    name = f"{owner.context.prefix}-gp3"
    tags = {
        f"tagSpecification_{number}": f"{key}={value}"
        for number, (key, value) in enumerate(sorted(owner.context.tags.items()), start=1)
    }
    made = k8s.storage.v1.StorageClass(
        name,
        metadata=metadata(owner.context, name),
        provisioner=PROVISIONER,
        parameters={"type": "gp3", "encrypted": "true", "kmsKeyId": key_arn, **tags},
        volume_binding_mode="WaitForFirstConsumer",
        reclaim_policy="Delete",
        allow_volume_expansion=True,
        opts=owner.child(),
    )
    return made.metadata.name.apply(lambda found: found or name)
