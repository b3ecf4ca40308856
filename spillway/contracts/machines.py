"""CPUs and memory of the machines that node pools are made of, and what of them is left for pods."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

FOR_PODS: Final = 0.85
"""Share of a machine that our pods may ask for. The rest is the kubelet's and the system's reserve (EKS: 255 MiB and
11 MiB a pod; AKS: 20 MiB a pod; both: eviction's 100 MiB, some tenths of a CPU) and the node's own pods."""


@dataclass(frozen=True)
class Room:
    """What pods may ask for on one machine: ``cpus``, and ``mib`` of memory."""

    cpus: float
    mib: int


def room(machine: str) -> Room | None:
    """Of an EC2 instance type or an Azure VM size; ``None`` for one that ``machines.json`` does not know."""
    size = _sizes().get(machine)
    return None if size is None else Room(size[0] * FOR_PODS, int(size[1] * FOR_PODS))


@cache
def _sizes() -> dict[str, list[int]]:
    return json.loads(files("spillway.contracts").joinpath("machines.json").read_text(encoding="utf-8"))["sizes"]
