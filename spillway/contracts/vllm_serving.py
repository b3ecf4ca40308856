"""With what every site starts vLLM: what the package says, and what spilling needs of the engine.

* ``scheduling-policy``: without it vLLM takes a request's priority and ignores it.
* ``max-num-queued-reqs``: waiting and running requests above which it answers 503 at once, before a stream begins; its
  own queue has no end (``vllm/config/scheduler.py``). It counts everybody alike, so the gateways, which know classes,
  are to say no first: their limits stay below it (:func:`headroom`).
* ``max-num-seqs`` above the slots: what all classes share is the slots, and the rest of the batch is P0's, which would
  wait for the end of somebody's answer otherwise (docs/decisions/0098-seats-for-the-urgent.md).

``max-num-queued-tokens``, the limit of the prompts that wait, is the longest wait times the measured rate of reading
prompts. Nothing here knows that rate: the package says it, where somebody has measured (``vllm.prefill``).
"""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from spillway.contracts.manifest import Manifest

SWITCHED_OFF: Final = {
    "VLLM_SERVER_DEV_MODE": "0",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""In every site's container, whatever its image sets: routes that call any worker's method or load adapters from any
path, fetching from outside, telling others.

https://docs.vllm.ai/en/v0.30.0/configuration/env_vars.html
"""
DRAIN_OPTION: Final = "shutdown-timeout"
"""Seconds that answers have to end after SIGTERM; by vLLM's default none, and streams stall."""


_SPARE: Final = 16
"""One of so many requests that a server accepts is nobody's: gateways balance each for itself, and probes pass them."""


def headroom(manifest: Manifest, instances: float) -> int | None:
    """Requests above the slots of so many servers that P0 may bring; ``None``, as many again, for other servers than
    vLLM."""
    if manifest.kind != "vllm":
        return None
    return int(room_above(manifest.serving.slots, manifest.serving.max_concurrency) * instances)


def room_above(slots: int, accepted: int) -> int:
    """Of one server."""
    return max(0, accepted - ceil(accepted / _SPARE) - slots)


def arguments(manifest: Manifest, pipeline_parallel_size: int | None = None) -> dict[str, Any]:
    """Options of ``vllm serve``, without their dashes, that are the same on every site; ``pipeline_parallel_size``: of
    one that holds the model on more nodes."""
    language = manifest.language
    assert language is not None
    own = {
        "dtype": language.dtype,
        "max-model-len": language.max_model_len,
        "max-num-seqs": language.max_num_seqs,
        "tensor-parallel-size": language.tensor_parallel_size,
        "gpu-memory-utilization": language.gpu_memory_utilization,
        "scheduling-policy": "priority",
        "max-num-queued-reqs": manifest.serving.max_concurrency,
    }
    pipeline = {} if pipeline_parallel_size in (None, 1) else {"pipeline-parallel-size": pipeline_parallel_size}
    named = {"served-model-name": manifest.entry_model, "disable-fastapi-docs": True}
    return {**own, **language.arguments, **pipeline, **named}
