"""Whether the nodes of one server reach each other as the stack file says, and what it costs where they do not.

Bandwidths: EC2's DescribeInstanceTypes (``spillway/contracts/network_cards.json``); InfiniBand of Azure's ND sizes:
https://learn.microsoft.com/azure/virtual-machines/sizes/gpu-accelerated/ndh100v5-series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from components.burst.site import BurstSite
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts.network_cards import network
from spillway.contracts.problems import Problem, key_of
from stacks.placement import efa_of_a_server
from stacks.settings import StackSettings

_KEY: Final = "model_server.span.fabric"
_TCP: Final = (
    "or accept TCP with model_server.span.fabric: tcp, which pipeline parallelism can bear and tensor or expert "
    "parallelism over nodes cannot"
)
_UPSTREAM: Final = "vllm/vllm-openai"


def _machines_have_the_fabric(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster, span = settings.private_cluster, settings.model_server.span
    if not isinstance(cluster, EksSettings) or span is None or span.fabric == "tcp":
        return
    if span.fabric == "devices":
        yield Problem(key_of(_KEY), "devices", "the stack sets EFA up on EKS: give efa, or leave it and devices out")
        return
    pool = cluster.gpu_pool
    found = network(pool.instance_type)
    if found is None or not found.efa:
        speed = f"{found.gbits:g} Gbit/s at most, once for all its GPUs" if found else "a speed that is not known here"
        advice = (
            f"it has no Elastic Fabric Adapter, so a server's nodes would exchange what they compute over TCP, with "
            f"{speed}; a p5.48xlarge has 32 adapters and 3200 Gbit/s, a g6e.12xlarge one and 100: choose such a one, "
            f"{_TCP}"
        )
        yield Problem(key_of("private_cluster.gpu_pool.instance_type"), pool.instance_type, advice)
    elif not efa_of_a_server(settings) and settings.model_server.gpus:
        advice = (
            f"{pool.instance_type} has {found.efa} Elastic Fabric Adapter for {pool.gpus_per_node} GPUs, and one is "
            f"not divided: give a server all GPUs of its nodes, {_TCP}"
        )
        yield Problem(key_of("model_server.gpus"), str(settings.model_server.gpus), advice)


def _nodes_tell_of_their_fabric(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """An autoscaler takes a node of a pool for what the next will be (cluster-autoscaler's FAQ, scaling from zero)."""
    cluster = settings.private_cluster
    if isinstance(cluster, EksSettings) and efa_of_a_server(settings) and not cluster.gpu_pool.min_nodes:
        advice = "of an empty pool the autoscaler knows no Elastic Fabric Adapters, and adds no node; give at least 1"
        yield Problem(key_of("private_cluster.gpu_pool.min_nodes"), "0", advice)


def _image_has_the_fabrics_libraries(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """vLLM's own image has neither libfabric nor NCCL's plugin for it (https://github.com/vllm-project/vllm/issues/55635),
    and NCCL goes over TCP then without a word; AWS's has both (github.com/aws/deep-learning-containers, docker/vllm).
    """
    image = settings.model_server.vllm_image
    if efa_of_a_server(settings) and _UPSTREAM in image:
        advice = (
            "vLLM's own image has no libfabric, and NCCL would go over TCP without a word: take AWS's, "
            "public.ecr.aws/deep-learning-containers/vllm, or one built from it, "
            f"{_TCP}"
        )
        yield Problem(key_of("model_server.vllm_image"), image, advice)


def _azure_and_others_say_how(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cluster, span = settings.private_cluster, settings.model_server.span
    if span is None:
        return
    if isinstance(cluster, AksSettings) and span.fabric != "tcp":
        advice = (
            "the InfiniBand of Azure's ND sizes (3200 Gbit/s of eight H100) takes a feature of the subscription and "
            "NVIDIA's network operator, which this stack does not set up; over TCP a node has 80 Gbit/s. Where that is "
            f"too little, bring the cluster yourself (kind: existing with fabric: devices), {_TCP}"
        )
        yield Problem(key_of(_KEY), span.fabric or "nothing", advice)
    if isinstance(cluster, ExistingSettings) and span.fabric in (None, "efa"):
        advice = (
            "what connects the nodes of an existing cluster is not known here: name what its device plugins offer "
            f"(fabric: devices, devices: {{rdma/hca_shared_devices_a: 1}}), {_TCP}"
        )
        yield Problem(key_of(_KEY), span.fabric or "nothing", advice)


RULES = (
    _machines_have_the_fabric,
    _nodes_tell_of_their_fabric,
    _image_has_the_fabrics_libraries,
    _azure_and_others_say_how,
)
