"""What the planner counts at the private site where a server is more than a node, or less than a GPU.

A server on several nodes is a unit of so many: they come, fail and cost together. Its layers are shared out, so that
each GPU holds a part of weights and KV; a token passes through all of them, which takes as long as on one node
(pipeline parallelism gains room and throughput, not time). A part of a GPU is slower than a whole one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from spillway.contracts.manifest import Manifest
from spillway.planner.errors import PlannerError
from spillway.planner.service import ServiceModel
from spillway.planner.system import SiteSpec
from stacks.placement import parts_of_a_gpu, private_gpu
from stacks.settings import StackSettings

_PROFILE: Final = re.compile(r"(?P<slices>\d+)g\.(?P<gb>\d+)gb")
_SLICES: Final = 7
"""Of which MIG divides a GPU's multiprocessors; its memory has eight parts, which a profile's size tells of:
https://docs.nvidia.com/datacenter/tesla/mig-user-guide/"""
_GB: Final = {"A100-40GB": 40, "A100-80GB": 80, "H100": 80, "H200": 141}
"""Memory of a GPU, as its profile of all slices names it."""


@dataclass(frozen=True)
class Unit:
    """``nodes``: that are counted as one. ``gpus``: of one server, over its nodes. ``parts``: of each GPU, of which a
    server has one. ``slower``: how much longer prompts and answers take than on whole GPUs. ``memory``: share of a
    GPU's that is one part's own."""

    nodes: int = 1
    gpus: int | None = None
    parts: int = 1
    slower: tuple[float, float] = (1.0, 1.0)
    memory: float = 1.0

    def held(self, service: ServiceModel) -> ServiceModel:
        """The service as a private server's GPUs hold it. Raises :class:`PlannerError`."""
        if self.parts > 1 and service.gpus_per_server > 1:
            raise PlannerError(
                f"{service.name} takes {service.gpus_per_server} GPUs, and private_cluster.gpu_sharing gives a server "
                "a part of one: plan it without"
            )
        changes: dict[str, float] = {"memory_share": service.memory_share * self.memory}
        if self.gpus is not None:
            spread = self.gpus / service.gpus_per_server
            changes |= {
                "gpus_per_server": self.gpus,
                "gpu_weights_bytes": int(service.gpu_weights_bytes / spread),
                "gpu_kv_bytes_per_token": service.gpu_kv_bytes_per_token / spread,
            }
        return service.model_copy(update=changes)

    def shared(self, spec: SiteSpec) -> SiteSpec:
        """The private site, planned for whole GPUs, with the parts that there are."""
        prompt, answer = (factor * slower for factor, slower in zip(spec.factors, self.slower, strict=True))
        name = f"{self.nodes} x {spec.instance_type}" if self.nodes > 1 else spec.instance_type
        return spec.model_copy(
            update={"servers": spec.servers * self.parts, "factors": (prompt, answer), "instance_type": name}
        )


def unit_of(settings: StackSettings) -> Unit:
    """What the stack file makes of the private nodes."""
    server, sharing = settings.model_server, settings.private_cluster.gpu_sharing
    if server.span:
        return Unit(nodes=server.nodes, gpus=server.gpus_in_all)
    if sharing is None:
        return Unit()
    parts = parts_of_a_gpu(settings)
    if sharing.mig is None:
        # At full load each waits for the others; what one leaves is not counted for another.
        return Unit(parts=parts, slower=(float(parts), float(parts)))
    found = _PROFILE.fullmatch(sharing.mig)
    assert found is not None
    memory = int(found["gb"]) / _GB[private_gpu(settings) or ""]
    return Unit(parts=parts, slower=(_SLICES / int(found["slices"]), 1 / memory), memory=memory)


def gpus_elsewhere(settings: StackSettings, manifest: Manifest | None) -> int:
    """GPUs of a server on a machine that holds it alone: for which a package that is spread here is made."""
    if settings.model_server.span and manifest and manifest.language:
        return manifest.language.gpus
    return settings.model_server.gpus or 1
