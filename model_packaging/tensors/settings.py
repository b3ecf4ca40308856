"""The blocks of a ``model.yaml``: what is timed, and how the model is served."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from spillway.contracts.classes import PROMISES, RequestClass
from spillway.contracts.frozen import Frozen


class Latency(Frozen):
    """What is timed."""

    batch_sizes: tuple[int, ...] = Field(default=(1, 8), min_length=1)
    sequence_length: int = Field(default=64, ge=1)
    repeats: int = Field(default=15, ge=3)
    threads: int = Field(default=1, ge=1)


class Batching(Frozen):
    """Triton's dynamic batching.

    Timeouts are how long a request may wait in the queue before it is rejected: by default until its answer would count
    as lost, so that the bound never costs an answer that was still worth something.
    """

    max_queue_delay_ms: float = Field(default=50, ge=0)
    max_queue_size: int = Field(default=256, ge=0)
    """Requests that may wait per priority level; 0 for no bound."""
    timeout_s: dict[RequestClass, float] = Field(
        default_factory=lambda: {cls: promise.lost_after_s for cls, promise in PROMISES.items()}
    )

    @field_validator("timeout_s")
    @classmethod
    def _every_class(cls, value: dict[RequestClass, float]) -> dict[RequestClass, float]:
        if missing := set(RequestClass) - value.keys():
            raise ValueError(f"give a timeout for every class; missing: {', '.join(sorted(missing))}")
        if bad := [name for name, seconds in value.items() if seconds <= 0]:
            raise ValueError(f"{bad[0]}: a timeout is more than 0 seconds")
        return value


class ServingConfig(Frozen):
    """How Triton serves the model."""

    max_batch_size: int = Field(default=32, ge=1, le=1024)
    """Requests that share a batch at most. A model without a batch axis answers one at a time, whatever this says."""
    batching: Batching = Batching()
    instance_kind: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto``: on the GPU where there is one."""
    accelerator: Literal["none", "tensorrt-ep"] = "none"
    """``tensorrt-ep``: on a GPU, ONNX Runtime's TensorRT execution provider compiles the portable model when the server
    loads it, and keeps the engine in ``engine_cache``: for where no engine was compiled for the hardware."""
    engine_cache: str = Field(default="/tmp/tensorrt-engines", min_length=1)
    """Folder, in the server, of the engines that ``tensorrt-ep`` compiles. Mount a volume there to keep them."""
    instances: int = Field(default=1, ge=1, le=64)
    intra_op_threads: int = Field(default=0, ge=0)
    """ONNX Runtime's threads per instance on the CPU; 0 leaves it to ONNX Runtime."""
    pad_to_multiple_of: int = Field(default=16, ge=1)
    """Texts are padded to a multiple of this, so that requests of like length share a batch."""
    response_cache: bool = False
    warm_up: bool = True
    slots: int = Field(default=32, ge=1)
    max_concurrency: int = Field(default=64, ge=1)
    request_timeout_s: float = Field(default=30, gt=0)


class AzureMlConfig(Frozen):
    """What goes into Azure ML's deployment description."""

    instance_type: str = "Standard_NC4as_T4_v3"
    cpu_instance_type: str = "Standard_F4s_v2"
    """For the ONNX Runtime target, which has no GPU."""
    instance_count: int = Field(default=1, ge=1)
