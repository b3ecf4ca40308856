"""What the GPUs that clouds rent out can run."""

from __future__ import annotations

from typing import Final

AMPERE: Final = 8.0
"""Compute capability of the first Ampere GPU."""

COMPUTE_CAPABILITIES: Final[dict[str, str]] = {
    "T4": "7.5",
    "A100": "8.0",
    "A10": "8.6",
    "A10G": "8.6",
    "L4": "8.9",
    "L40S": "8.9",
    "H100": "9.0",
    "H200": "9.0",
    "B200": "10.0",
    "B300": "10.3",
    "RTXPRO6000": "12.0",
}
"""By GPU, as the price table names it before the size of its memory. Source: developer.nvidia.com/cuda-gpus."""

MEMORY_MIB: Final[dict[str, int]] = {
    "T4": 15360,
    "A10": 23028,
    "A10G": 23028,
    "L4": 23034,
    "A100-40GB": 40960,
    "L40S": 46068,
    "A100-80GB": 81920,
    "H100": 81559,
    "H100-NVL": 95830,
    "H200": 143771,
    "B200": 183359,
    "RTXPRO6000": 97887,
    "MI300X": 196592,
}
"""By GPU, as the price table names it: all of its memory, as nvidia-smi and rocm-smi show it. ``H100-NVL`` is in
Azure's NC sizes (https://learn.microsoft.com/azure/virtual-machines/sizes/gpu-accelerated/ncadsh100v5-series)."""

MIG_SLICES: Final[dict[str, dict[str, int]]] = {
    "A100-40GB": {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2, "7g.40gb": 1},
    "A100-80GB": {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2, "7g.80gb": 1},
    "H100": {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2, "7g.80gb": 1},
    "H100-NVL": {"1g.12gb": 7, "1g.24gb": 4, "2g.24gb": 3, "3g.47gb": 2, "7g.94gb": 1},
    "H200": {"1g.18gb": 7, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2, "7g.141gb": 1},
}
"""By GPU: how many slices of one MIG profile it holds. Source: docs.nvidia.com/datacenter/tesla/mig-user-guide,
supported profiles; each is ``all-<profile>`` in the configurations that the GPU operator brings."""
