"""Nodes as the stacks' pools make them: labels, taints, and what is left of the machine for pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

ZONES: Final = ("a", "b", "c")
KEEPER: Final = "fake"
"""Who does the kubelets' work for a node, where nobody else is named."""


@dataclass(frozen=True)
class Machine:
    """What a kubelet would call allocatable: the machine less what it and the system keep.

    EKS keeps 255 MiB and 11 MiB a pod, 100 MiB for eviction and 60 to 320 millicores (amazon-eks-ami, nodeadm); AKS 20
    MiB a pod, 50 and 100 MiB, and 140 millicores of four CPUs
    (learn.microsoft.com/azure/aks/node-resource-reservations).
    """

    name: str
    cpus: float
    gib: float
    gpus: int = 0
    gpu: str = "nvidia.com/gpu"
    disk_gib: int = 180
    devices: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def _gpu_machine(name: str, cpus: float, gib: float, gpus: int, **more: Any) -> Machine:
    gpu = more.get("gpu", "nvidia.com/gpu")
    label = "nvidia.com/gpu.present" if gpu == "nvidia.com/gpu" else "feature.node.kubernetes.io/amd-gpu"
    return Machine(
        name,
        cpus,
        gib,
        gpus,
        taints=({"key": gpu, "value": "present", "effect": "NoSchedule"},),
        labels={label: "true"},
        **more,
    )


L4 = _gpu_machine("g6.xlarge", 3.92, 14.3, 1, disk_gib=220)
L4_OF_FOUR = _gpu_machine("g6.12xlarge", 47.81, 181.0, 4, disk_gib=3300)
L40S = _gpu_machine("g6e.8xlarge", 31.85, 243.0, 1, disk_gib=850)
L40S_WITH_EFA = replace(L40S, devices={"vpc.amazonaws.com/efa": "1", "hugepages-2Mi": "10256Mi"})
T4 = _gpu_machine("Standard_NC4as_T4_v3", 3.86, 24.6, 1)
A100 = _gpu_machine("p4d.24xlarge", 95.69, 1115.0, 8, disk_gib=7000)
H100 = _gpu_machine("p5.48xlarge", 191.45, 1990.0, 8, disk_gib=28000)
H200 = _gpu_machine("p5en.48xlarge", 191.45, 1990.0, 8, disk_gib=28000)
MI300X = _gpu_machine("Standard_ND96isr_MI300X_v5", 95.6, 1800.0, 8, gpu="amd.com/gpu", disk_gib=900)
SYSTEM = Machine("m7i.xlarge", 3.92, 14.3, disk_gib=90)
SMALL_SYSTEM = Machine("Standard_D4s_v5", 3.86, 12.9, disk_gib=110)


def nodes(machine: Machine, count: int, pool: str, keeper: str = KEEPER, zone: int = 0) -> Iterator[dict[str, Any]]:
    """``count`` nodes of one pool, over three zones, beginning with that one."""
    resources = {
        "cpu": f"{int(machine.cpus * 1000)}m",
        "memory": f"{int(machine.gib * 1024)}Mi",
        "ephemeral-storage": f"{machine.disk_gib}Gi",
        "pods": "110",
        **({machine.gpu: str(machine.gpus)} if machine.gpus else {}),
        **machine.devices,
    }
    for number in range(count):
        name = f"{pool}-{number}"
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "node.kubernetes.io/instance-type": machine.name,
                    "topology.kubernetes.io/region": "us-east-1",
                    "topology.kubernetes.io/zone": f"us-east-1{ZONES[(zone + number) % 3]}",
                    "spillway.dev/pool": pool,
                    **machine.labels,
                },
                "annotations": {"kwok.x-k8s.io/node": keeper},
            },
            "spec": {"taints": list(machine.taints)},
            "status": {"capacity": resources, "allocatable": resources},
        }
