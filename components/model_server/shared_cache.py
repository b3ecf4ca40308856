"""One volume for all vLLM servers, in place of one of each pod: the package is fetched once for all of them, and what
vLLM, torch and Triton compile outlives the pods. Each package has a folder of its own, by its digest, so that servers
of two releases stand side by side; old folders stay."""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component
from components.kubernetes_documents import metadata
from spillway.contracts.names import MODEL_SERVER

CLAIM: Final = f"{MODEL_SERVER}-cache"

_FIRST: Final = """set -eu
exec 9>/cache/.lock
flock 9
test "$(cat /cache/.complete 2>/dev/null)" = "$SPILLWAY_PACKAGE_SHA256" && exit 0
"""
_LAST: Final = """echo "$SPILLWAY_PACKAGE_SHA256" >/cache/.complete
"""


def once(fetch: str) -> str:
    """The script, of which the first server that comes does all and those after it nothing."""
    return f"{_FIRST}{fetch}{_LAST}"


def claim(
    component: Component, namespace: str, storage_class: str, size: str, after: list[pulumi.Resource]
) -> k8s.core.v1.PersistentVolumeClaim:
    # Bound when the first pod comes, where the class says so: nothing to wait for.
    annotations: dict[str, pulumi.Input[str]] = {"pulumi.com/skipAwait": "true"}
    return k8s.core.v1.PersistentVolumeClaim(
        CLAIM,
        metadata=metadata(component.context, CLAIM, namespace, annotations=annotations),
        spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteMany"],
            storage_class_name=storage_class,
            resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": size}),
        ),
        opts=component.child(depends_on=after),
    )
