"""What only documentation says of one Kubernetes object: that what it names will be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource

_GROUP: Final = "spec.leaderWorkerTemplate"
_WORKLOADS: Final = {
    "kubernetes:apps/v1:Deployment": ("spec.template",),
    "kubernetes:apps/v1:StatefulSet": ("spec.template",),
    "kubernetes:apps/v1:DaemonSet": ("spec.template",),
    "kubernetes:batch/v1:Job": ("spec.template",),
    "kubernetes:batch/v1:CronJob": ("spec.jobTemplate.spec.template",),
    "kubernetes:core/v1:Pod": ("",),
    "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet": (f"{_GROUP}.leaderTemplate", f"{_GROUP}.workerTemplate"),
}


@rule(
    "kubernetes-volume-source",
    "A Secret or ConfigMap that a pod mounts and that is not optional has to be there, else the pod never starts.",
    Source(
        "Kubernetes: Secrets, optional Secrets",
        "https://kubernetes.io/docs/concepts/configuration/secret/",
        "2026-11-29",
    ),
)
def _volume_source(graph: Graph) -> Iterator[Found]:
    own = {namespace.get("metadata.name") for namespace in graph.of("kubernetes:core/v1:Namespace")}
    there = set(_objects(graph))
    for workload, path, pod in _pods(graph):
        namespace = workload.get("metadata.namespace")
        # In a namespace that was there before, somebody may have made it.
        if namespace not in own:
            continue
        for at, kind, name in _mounted(pod):
            if isinstance(name, str) and (kind, namespace, name) not in there:
                yield (
                    workload,
                    f"{path}.{at}",
                    f"names the {kind} {name}, which nothing makes in a namespace that the same deployment makes: "
                    "the pod never starts",
                    f"Make the {kind} in the stack, mark it optional, or make both in a stage before.",
                )


def _objects(graph: Graph) -> Iterator[tuple[str, Any, Any]]:
    """(kind, namespace, name) of every Secret and ConfigMap that will be there."""
    for kind in ("Secret", "ConfigMap"):
        for object_ in graph.of(f"kubernetes:core/v1:{kind}"):
            yield kind, object_.get("metadata.namespace"), object_.get("metadata.name")
    for object_ in graph.resources:
        # cert-manager and External Secrets make Secrets by these properties.
        for path in ("spec.secretName", "spec.target.name"):
            if isinstance(object_.get(path), str):
                yield "Secret", object_.get("metadata.namespace"), object_.get(path)


def _pods(graph: Graph) -> Iterator[tuple[Resource, str, Mapping[str, Any]]]:
    """(workload, path of its pod's specification, the specification)."""
    for type_, templates in _WORKLOADS.items():
        for workload, template in product(graph.of(type_), templates):
            path = f"{template}.spec".removeprefix(".")
            pod = workload.get(path)
            if isinstance(pod, Mapping):
                yield workload, path, pod


def _mounted(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(path, kind, name) of what has to be there."""
    for index, volume in enumerate(items(pod.get("volumes"))):
        secret, config = volume.get("secret") or {}, volume.get("configMap") or {}
        if secret and not secret.get("optional"):
            yield f"volumes.{index}.secret.secretName", "Secret", secret.get("secretName")
        if config and not config.get("optional"):
            yield f"volumes.{index}.configMap.name", "ConfigMap", config.get("name")


_UNPUBLISHED: Final = "ghcr.io/spillway/"


@rule(
    "image-is-published",
    "An image can be pulled once somebody has built and pushed it.",
    Source("Build the runtime image", "../how-to/runtime-image.md", "2026-11-29"),
)
def _published(graph: Graph) -> Iterator[Found]:
    for resource, path, image in _images(graph):
        if isinstance(image, str) and image.startswith(_UNPUBLISHED):
            yield (
                resource,
                path,
                f"{_UNPUBLISHED}* is where nobody has published an image: it cannot be pulled",
                "Build it with `make image`, push it to a registry of your own, and name it in `gateway.agent_image`.",
            )


def _images(graph: Graph) -> Iterator[tuple[Resource, str, Any]]:
    for workload, path, pod in _pods(graph):
        for kind in ("initContainers", "containers"):
            for index, container in enumerate(items(pod.get(kind))):
                yield workload, f"{path}.{kind}.{index}.image", container.get("image")
    for task in graph.of("aws:ecs/taskDefinition:TaskDefinition"):
        for index, container in enumerate(items(document(task.get("containerDefinitions")))):
            yield task, f"containerDefinitions.{index}.image", container.get("image")


_SIZES: Final = ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size")


@rule(
    "vllm-gpus",
    "vLLM starts a process for each part of its parallelism, divided evenly among its nodes, and each takes a GPU.",
    Source(
        "vLLM: Parallelism and Scaling",
        "https://docs.vllm.ai/en/v0.30.0/serving/parallelism_scaling/",
        "2026-11-30",
    ),
)
def _vllm_gpus(graph: Graph) -> Iterator[Found]:
    for workload, path, pod in _pods(graph):
        for index, container in enumerate(items(pod.get("containers"))):
            words, gpus = container.get("command"), _gpus(container)
            if gpus is None or not isinstance(words, list) or words[:2] != ["vllm", "serve"]:
                continue
            needed, nodes = prod(_option(words, name) for name in _SIZES), _option(words, "--nnodes")
            at = f"{path}.containers.{index}"
            if needed > gpus * nodes or needed % nodes:
                yield (
                    workload,
                    f"{at}.resources.limits",
                    f"vLLM is told to use {needed} GPUs on {nodes} nodes, and has {gpus} on each",
                    "Give it as many as its tensor, pipeline and data parallel sizes need together, or fewer sizes.",
                )
            size = workload.get(f"{_GROUP}.size")
            if isinstance(size, int) and size != nodes:
                yield (
                    workload,
                    f"{at}.command",
                    f"vLLM waits for {nodes} nodes, and its group has {size} pods: it never starts",
                    "Make --nnodes the size of the group.",
                )


def _gpus(container: Mapping[str, Any]) -> int | None:
    limits = (container.get("resources") or {}).get("limits") or {}
    found = [value for name, value in limits.items() if name.endswith("/gpu")]
    return int(found[0]) if found and str(found[0]).isdigit() else None


def _option(words: list[Any], name: str) -> int:
    """A number in a command line; 1 where it is not there."""
    given = words[words.index(name) + 1] if name in words[:-1] else 1
    return int(given) if str(given).isdigit() else 1


RULES: Final[tuple[Rule, ...]] = (_volume_source, _published, _vllm_gpus)
