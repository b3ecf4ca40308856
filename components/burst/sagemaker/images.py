"""Addresses of SageMaker's serving containers, from a dated table (``generate_images`` writes it)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from spillway.contracts.server_routes import VLLM_VERSION

TABLE: Final = Path(__file__).with_name("images_table.json")

Kind = Literal["triton", "vllm"]

AMI_CUDA: Final[dict[str, int]] = {
    "al2-ami-sagemaker-inference-gpu-2": 12,
    "al2-ami-sagemaker-inference-gpu-2-1": 12,
    "al2-ami-sagemaker-inference-gpu-3-1": 12,
    "al2023-ami-sagemaker-inference-gpu-4-1": 13,
}
"""Highest CUDA major release that a host image's driver runs (CreateEndpointConfig, InferenceAmiVersion). The images
switch CUDA's forward-compatibility libraries off, so the driver is what counts."""

ENGINES: Final = {"2": "0.22.1", "2.1": "0.24.0", "2.2": "0.26.0", "2.3": "0.27.0", "2.5": "0.30.0"}
"""AWS's release of its vLLM container and the vLLM in it. 2 to 2.3: ``docs/src/data/vllm-server`` of
aws/deep-learning-containers at e0ecedea; 2.5: told of its release notes of 23 September 2026. Of the others nothing is
known here."""

TRITON_CUDA_13: Final = (25, 8)
"""First Triton release built on CUDA 13 (NVIDIA's Triton release notes, 25.08)."""


class ImageError(ValueError):
    """No such container; the message says what there is."""


@dataclass(frozen=True)
class ContainerImage:
    """One address, and where it comes from."""

    kind: Kind
    version: str
    address: str
    account: str
    repository: str
    cuda_major: int


@cache
def table() -> dict[str, Any]:
    """The whole table: ``generated`` (date), ``source`` (SDK and version), ``containers``."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def image(kind: Kind, region: str, version: str | None = None, inference_ami: str | None = None) -> ContainerImage:
    """The container that serves packages of ``kind`` in ``region``.

    Without ``version`` the newest one whose CUDA the driver of ``inference_ami`` runs; of vLLM the one that holds the
    vLLM of every other site. Raises :class:`ImageError`.
    """
    versions: dict[str, Any] = table()["containers"][kind]
    if version is None and kind == "vllm":
        version = next(number for number, engine in ENGINES.items() if engine == VLLM_VERSION)
    if version is not None and version not in versions:
        raise ImageError(
            f"container_version {version!r} is not in the table; allowed for {kind}: {', '.join(versions)}"
        )
    newest_cuda = AMI_CUDA.get(inference_ami, 0) if inference_ami else 99
    for number in [version] if version else versions:
        row = versions[number]
        cuda = _cuda_major(kind, number)
        if region not in row["accounts"]:
            if version:
                raise ImageError(f"container {kind} {number} is not in {region}; it is in {', '.join(row['accounts'])}")
            continue
        if cuda > newest_cuda:
            if version:
                raise ImageError(
                    f"container {kind} {number} needs CUDA {cuda}, and inference_ami_version {inference_ami!r} brings "
                    f"CUDA {newest_cuda}; choose an older container_version or al2023-ami-sagemaker-inference-gpu-4-1"
                )
            continue
        account, repository = row["accounts"][region], row["repository"]
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        address = f"{account}.dkr.ecr.{region}.{suffix}/{repository}:{row['tag']}"
        return ContainerImage(kind, number, address, account, repository, cuda)
    raise ImageError(f"no {kind} container in {region} runs on {inference_ami!r}; see {TABLE.name} for regions")


def _cuda_major(kind: Kind, version: str) -> int:
    """CUDA release of a container: of vLLM's from the second on 13 (their change log), of Triton's by its release."""
    release = tuple(int(part) for part in version.split("."))
    return 13 if kind == "vllm" or release >= TRITON_CUDA_13 else 12
