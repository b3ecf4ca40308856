"""Kubernetes workloads: bounded, probed, hard to take down by a drain, without privileges, from pinned images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_not_true, is_true, number
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN, Resource, at

_GROUP = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
_LEADERS = "spec.leaderWorkerTemplate.leaderTemplate.spec"
_POD_SPECS = {
    "kubernetes:apps/v1:Deployment": ("spec.template.spec",),
    "kubernetes:apps/v1:StatefulSet": ("spec.template.spec",),
    "kubernetes:apps/v1:DaemonSet": ("spec.template.spec",),
    "kubernetes:apps/v1:ReplicaSet": ("spec.template.spec",),
    "kubernetes:batch/v1:Job": ("spec.template.spec",),
    "kubernetes:batch/v1:CronJob": ("spec.jobTemplate.spec.template.spec",),
    "kubernetes:core/v1:Pod": ("spec",),
    _GROUP: (_LEADERS, "spec.leaderWorkerTemplate.workerTemplate.spec"),
}
WORKLOADS = tuple(_POD_SPECS)
# A group's workers answer nobody: whether they are well, their leader's probes say.
_LASTING = {
    type_: specs[0] for type_, specs in _POD_SPECS.items() if type_.startswith("kubernetes:apps/") or type_ == _GROUP
}
_REPLICATED = ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet", _GROUP)
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_MOVING = re.compile(r"(?:^|[:-])latest$")
_RELEASE = "kubernetes:helm.sh/v3:Release"
_WHICH_DIGEST = "`docker buildx imagetools inspect` shows the digest."


class LimitSettings(PolicySettings):
    """What a container has to say of its resources. A CPU limit only slows a container down, so none is asked for."""

    requests: tuple[str, ...] = ("cpu", "memory")
    """Names under ``resources.requests``."""

    limits: tuple[str, ...] = ("memory",)
    """Names under ``resources.limits``."""


def _containers(workload: Resource) -> Iterator[tuple[str, Any]]:
    """Path and mapping of each container that is known, those of initialisation included."""
    for spec, kind in product(_POD_SPECS[workload.type], ("containers", "initContainers")):
        yield from _of_kind(workload, f"{spec}.{kind}")


def _of_kind(workload: Resource, path: str) -> Iterator[tuple[str, Any]]:
    for index, container in enumerate(entries(workload.get(path))):
        yield f"{path}.{index}", container


def _limits(stack: Stack, settings: LimitSettings) -> Iterator[Finding]:
    for workload in stack.of(*WORKLOADS):
        for path, container in _containers(workload):
            for kind, names in (("requests", settings.requests), ("limits", settings.limits)):
                given = at(container, f"resources.{kind}")
                missing = [name for name in names if is_missing(at(given, name))]
                if missing and given is not UNKNOWN:
                    yield Finding(workload, f"{path}.resources.{kind} lacks {', '.join(missing)}")


def _probes(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for workload in stack.of(*_LASTING):
        for path, container in _of_kind(workload, f"{_LASTING[workload.type]}.containers"):
            missing = [probe for probe in ("readinessProbe", "livenessProbe") if is_missing(container.get(probe))]
            if missing:
                yield Finding(workload, f"{path} lacks {' and '.join(missing)}")


def _budgets(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for workload in stack.of(*_REPLICATED):
        if _many(stack, workload) and not any(_covers(budget, workload) for budget in stack.of(_BUDGET)):
            yield Finding(workload, "no PodDisruptionBudget selects its pods")


_BUDGET = "kubernetes:policy/v1:PodDisruptionBudget"
_SCALERS = ("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "kubernetes:keda.sh/v1alpha1:ScaledObject")


def _many(stack: Stack, workload: Resource) -> bool:
    """Whether it runs more than one pod, by itself or by an autoscaler. No budget saves a single one."""
    if (number(workload.get("spec.replicas")) or 0) > 1:
        return True
    name = workload.get("metadata.name")
    scalers = [s for s in stack.of(*_SCALERS) if name is not None and s.get("spec.scaleTargetRef.name") == name]
    least = [number(s.get("spec.minReplicas")) or number(s.get("spec.minReplicaCount")) or 0 for s in scalers]
    return any(count > 1 for count in least)


def _covers(budget: Resource, workload: Resource) -> bool:
    wanted = budget.get("spec.selector.matchLabels")
    labels = workload.get(f"{_LASTING[workload.type].removesuffix('spec')}metadata.labels")
    if not isinstance(wanted, Mapping) or not isinstance(labels, Mapping):
        return wanted is UNKNOWN or labels is UNKNOWN
    same_place = budget.get("metadata.namespace") == workload.get("metadata.namespace")
    return same_place and all(labels.get(key) == value for key, value in wanted.items())


def _privileges(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for workload in stack.of(*WORKLOADS):
        for spec in _POD_SPECS[workload.type]:
            yield from _of_machine(workload, spec)
        for path, container in _containers(workload):
            spec = path.rsplit(".", 2)[0]
            pod_is_no_root = is_true(workload.get(f"{spec}.securityContext.runAsNonRoot"))
            context = container.get("securityContext")
            if context is UNKNOWN:
                continue
            if is_true(at(context, "privileged")):
                yield Finding(workload, f"{path}.securityContext.privileged has to be false")
            if at(context, "allowPrivilegeEscalation") in (None, True):
                yield Finding(workload, f"{path}.securityContext.allowPrivilegeEscalation has to be false")
            if not pod_is_no_root and is_not_true(at(context, "runAsNonRoot")):
                yield Finding(workload, f"{path}.securityContext.runAsNonRoot has to be true")
            if not is_missing(at(context, "capabilities.add")):
                yield Finding(workload, f"{path}.securityContext.capabilities.add has to be empty")


def _of_machine(workload: Resource, spec: str) -> Iterator[Finding]:
    for switch in ("hostNetwork", "hostPID", "hostIPC"):
        if is_true(workload.get(f"{spec}.{switch}")):
            yield Finding(workload, f"{spec}.{switch} shares the machine's")
    for index, volume in enumerate(entries(workload.get(f"{spec}.volumes"))):
        if volume.get("hostPath"):
            yield Finding(workload, f"{spec}.volumes.{index}.hostPath mounts the machine's files")


def _digests(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for resource, path, image in _images(stack):
        if image is None or (isinstance(image, str) and _DIGEST.search(image) is None):
            key = stack.context.images.get(str(image))
            mend = f"Write {key} as `name@sha256:…`; {_WHICH_DIGEST}" if key else ""
            yield Finding(resource, f"{path}.image has no digest (@sha256:…)", remedy=mend)


def _moving(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for resource, path, image in _images(stack):
        if isinstance(image, str) and _moves(image):
            yield Finding(resource, f"{path}.image has a tag that moves, so that nobody knows what runs")
    for release in stack.of(_RELEASE):
        for path, value in _texts(release.get("values"), "values"):
            if _MOVING.search(value):
                yield Finding(release, f"{path} has a tag that moves, so that nobody knows what runs")


def _moves(image: str) -> bool:
    """An image without tag and digest is that of the tag `latest`."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return not digest and (not tag or _MOVING.search(tag) is not None)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each text of a chart's values, with its path."""
    if isinstance(value, str):
        yield path, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _texts(one, f"{path}.{key}")


def _images(stack: Stack) -> Iterator[tuple[Resource, str, Any]]:
    """Of each container: the resource that it is in, its path there, its image."""
    for workload in stack.of(*WORKLOADS):
        for path, container in _containers(workload):
            yield workload, path, container.get("image")
    for task in stack.of("aws:ecs/taskDefinition:TaskDefinition"):
        containers = task.get("containerDefinitions")
        known = document(containers) if isinstance(containers, str) else None
        for index, container in enumerate(entries(known)):
            yield task, f"containerDefinitions.{index}", container.get("image")


POLICIES = (
    Policy(
        "container-limits",
        "Containers of Kubernetes say what they need and what they may take.",
        "Give the container `resources.requests` and `resources.limits`.",
        _limits,
        LimitSettings,
    ),
    Policy(
        "container-probes",
        "Lasting containers of Kubernetes have a readiness and a liveness probe.",
        "Give the container `readinessProbe` and `livenessProbe`.",
        _probes,
    ),
    Policy(
        "disruption-budget",
        "A workload of several pods has a disruption budget, so that a drain leaves some standing.",
        "Add a PodDisruptionBudget that selects the workload's pods.",
        _budgets,
        whole_stack=True,
    ),
    Policy(
        "no-privileges",
        "Workloads run without privileges: no root, no escalation, nothing of the machine's.",
        "Drop the privilege; set `runAsNonRoot: true` and `allowPrivilegeEscalation: false`.",
        _privileges,
        severity="critical",
    ),
    Policy(
        "no-latest-images",
        "No image, of a workload or in a chart's values, has a tag that moves (`latest`) or none.",
        f"Name a released tag, or `name@sha256:…`; {_WHICH_DIGEST}",
        _moving,
        severity="high",
    ),
    Policy(
        "pinned-images",
        "Images of workloads are named by digest, so that what was tested is what runs.",
        f"Write the image as `name@sha256:…`; {_WHICH_DIGEST}",
        _digests,
        # The images that Spillway itself names are the public ones, by tag: whoever mirrors them knows their digests.
        level="advisory",
        severity="high",
    ),
)
