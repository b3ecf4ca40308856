"""Pieces of Kubernetes objects that several components share: names, labels, and hardened security contexts."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final

import pulumi
from pulumi_kubernetes import core, meta, policy

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from spillway.contracts import azure_calls, names

RUN_AS_USER: Final = 10001
"""A user id that no image needs to know: nothing is written outside the mounted volumes."""


def metadata(
    context: StackContext,
    name: str,
    namespace: str | None = None,
    *,
    annotations: pulumi.Input[dict[str, pulumi.Input[str]]] | None = None,
    labels: dict[str, str] | None = None,
) -> meta.v1.ObjectMetaArgs:
    """Metadata with the stack's labels. Names are fixed, so that other parts can find the object."""
    return meta.v1.ObjectMetaArgs(
        name=name,
        namespace=namespace,
        labels={**context.labels, "app.kubernetes.io/name": name, **(labels or {})},
        annotations=annotations,
    )


def selector(name: str) -> dict[str, str]:
    """The labels that select the pods of one workload. Immutable once deployed, so they hold nothing that changes."""
    return {"app.kubernetes.io/name": name}


def pod_security(fs_group: int | None = RUN_AS_USER, groups: tuple[int, ...] = ()) -> core.v1.PodSecurityContextArgs:
    """Pod security that the ``restricted`` standard accepts. ``groups``: further ones, such as own a device."""
    return core.v1.PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=RUN_AS_USER,
        run_as_group=RUN_AS_USER,
        fs_group=fs_group,
        supplemental_groups=list(groups) or None,
        seccomp_profile=core.v1.SeccompProfileArgs(type="RuntimeDefault"),
    )


def container_security() -> core.v1.SecurityContextArgs:
    """Container security that the ``restricted`` standard accepts, with a read-only root file system."""
    return core.v1.SecurityContextArgs(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=core.v1.CapabilitiesArgs(drop=["ALL"]),
    )


def resources(cpu: str, memory: str, disk: str | None = None, **limits: str) -> core.v1.ResourceRequirementsArgs:
    """Requests equal to limits for memory and devices; CPU and ``disk``, the node's, are requested but not limited."""
    asked = {"cpu": cpu, "memory": memory, **({"ephemeral-storage": disk} if disk else {})}
    return core.v1.ResourceRequirementsArgs(requests={**asked, **limits}, limits={"memory": memory, **limits})


def pull_secrets(context: StackContext, mirror: MirrorSettings) -> list[core.v1.LocalObjectReferenceArgs] | None:
    """What a pod's images are pulled with."""
    if mirror.pull_secret is None:
        return None
    return [core.v1.LocalObjectReferenceArgs(name=context.pull_secret)]


def environment(values: dict[str, pulumi.Input[str]]) -> list[core.v1.EnvVarArgs]:
    """Environment variables in a stable order."""
    return [core.v1.EnvVarArgs(name=name, value=value) for name, value in sorted(values.items())]


def leave_a_dead_node() -> list[core.v1.TolerationArgs]:
    """Tolerations of pods that stand anew elsewhere after half a minute; by default that takes five."""
    return [
        core.v1.TolerationArgs(
            key=f"node.kubernetes.io/{trouble}", operator="Exists", effect="NoExecute", toleration_seconds=30
        )
        for trouble in ("not-ready", "unreachable")
    ]


def spread(name: str) -> list[core.v1.TopologySpreadConstraintArgs]:
    """Over zones and nodes where possible, each version by itself: an update would else leave its pods askew."""
    return [
        core.v1.TopologySpreadConstraintArgs(
            max_skew=1,
            topology_key=key,
            when_unsatisfiable=when,
            label_selector=meta.v1.LabelSelectorArgs(match_labels=selector(name)),
            match_label_keys=["pod-template-hash"],
        )
        for key, when in (
            ("topology.kubernetes.io/zone", "ScheduleAnyway"),
            ("kubernetes.io/hostname", "ScheduleAnyway"),
        )
    ]


AWS_TOKEN_VOLUME: Final = "aws-token"
_TOKEN_FOLDER: Final = "/var/run/secrets/spillway-aws"
_TOKEN: Final[dict[str, Any]] = {"audience": "sts.amazonaws.com", "expirationSeconds": 3600, "path": "token"}
_TOKEN_MODE: Final = 0o440


def aws_token_volume() -> core.v1.VolumeArgs:
    """A short-lived token of the pod's service account, which AWS exchanges for a role: no key is stored anywhere."""
    return _token_volume(AWS_TOKEN_VOLUME, _TOKEN["audience"], _TOKEN["path"])


def _token_volume(name: str, audience: str, path: str) -> core.v1.VolumeArgs:
    token = core.v1.ServiceAccountTokenProjectionArgs(
        audience=audience, expiration_seconds=_TOKEN["expirationSeconds"], path=path
    )
    return core.v1.VolumeArgs(
        name=name,
        projected=core.v1.ProjectedVolumeSourceArgs(
            sources=[core.v1.VolumeProjectionArgs(service_account_token=token)], default_mode=_TOKEN_MODE
        ),
    )


def aws_token_mount() -> core.v1.VolumeMountArgs:
    """Where :func:`aws_token_environment` looks for it."""
    return core.v1.VolumeMountArgs(name=AWS_TOKEN_VOLUME, mount_path=_TOKEN_FOLDER, read_only=True)


_AZURE_VOLUME: Final = "azure-token"


def azure_token_volume() -> core.v1.VolumeArgs:
    """The same for Entra, whose managed identities may trust the cluster
    (https://azure.github.io/azure-workload-identity/docs/concepts.html)."""
    return _token_volume(_AZURE_VOLUME, azure_calls.TOKEN_AUDIENCE, PurePosixPath(names.AZURE_TOKEN_FILE).name)


def azure_token_mount() -> core.v1.VolumeMountArgs:
    """So that the file is :data:`names.AZURE_TOKEN_FILE`."""
    folder = str(PurePosixPath(names.AZURE_TOKEN_FILE).parent)
    return core.v1.VolumeMountArgs(name=_AZURE_VOLUME, mount_path=folder, read_only=True)


def aws_token_values(container: str, role_arn: pulumi.Input[str], region: str) -> dict[str, Any]:
    """The same three for the pod of a chart that takes volumes and patches of its containers."""
    mounted = {"name": AWS_TOKEN_VOLUME, "mountPath": _TOKEN_FOLDER, "readOnly": True}
    variables = [{"name": name, "value": value} for name, value in aws_token_environment(role_arn, region).items()]
    projected = {"sources": [{"serviceAccountToken": _TOKEN}], "defaultMode": _TOKEN_MODE}
    return {
        "volumes": [{"name": AWS_TOKEN_VOLUME, "projected": projected}],
        "containers": [{"name": container, "env": variables, "volumeMounts": [mounted]}],
    }


def aws_token_environment(role_arn: pulumi.Input[str], region: str) -> dict[str, pulumi.Input[str]]:
    """What every AWS client understands (web identity)."""
    return {
        "AWS_REGION": region,
        # What a bare botocore session reads: without it STS is asked at its global name, which no endpoint here serves.
        "AWS_DEFAULT_REGION": region,
        "AWS_ROLE_ARN": role_arn,
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_TOKEN_FOLDER}/token",
    }


def service_account(
    component: Component, name: str, namespace: str, after: list[pulumi.Resource]
) -> core.v1.ServiceAccount:
    """A workload's own account. It may nothing in the cluster; its tokens are projected where they are needed."""
    return core.v1.ServiceAccount(
        f"{component.context.prefix}-{name}",
        metadata=metadata(component.context, name, namespace),
        automount_service_account_token=False,
        opts=component.child(depends_on=after),
    )


def disruption_budget(
    component: Component, name: str, namespace: str, max_unavailable: int | str, after: list[pulumi.Resource]
) -> policy.v1.PodDisruptionBudget:
    """How many pods of a workload may be gone while nodes are drained: always one, or no node would ever be drained. A
    broken pod never holds a drain up."""
    return policy.v1.PodDisruptionBudget(
        f"{component.context.prefix}-{name}-pdb",
        metadata=metadata(component.context, name, namespace),
        spec=policy.v1.PodDisruptionBudgetSpecArgs(
            max_unavailable=max_unavailable,
            selector=meta.v1.LabelSelectorArgs(match_labels=selector(name)),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
        opts=component.child(depends_on=after),
    )


def memory_volume(name: str, size: str) -> core.v1.VolumeArgs:
    """A volume in memory: scratch room for a container whose root file system is read-only."""
    return core.v1.VolumeArgs(name=name, empty_dir=core.v1.EmptyDirVolumeSourceArgs(medium="Memory", size_limit=size))


def mount(name: str, path: str, *, read_only: bool = False) -> core.v1.VolumeMountArgs:
    """A volume's place in a container."""
    return core.v1.VolumeMountArgs(name=name, mount_path=path, read_only=read_only or None)
