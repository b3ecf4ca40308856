"""Triton's configuration of each model, from typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from model_packaging.pbtxt import ModelConfig, message
from model_packaging.sources.model import TextCodec, padded
from model_packaging.tensors.settings import ServingConfig
from spillway.contracts.classes import DEFAULT_CLASS, PROMISES
from spillway.contracts.manifest import TensorSpec

_INSTANCE_KINDS: Final = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
_CONFIG_TYPES: Final = {"BYTES": "TYPE_STRING"}
_WARM_UP_LENGTH: Final = 16

Shape = tuple[int, ...]


@dataclass(frozen=True)
class EnsembleStep:
    """One step: a model, and which ensemble tensor each of its inputs and outputs is."""

    model: str
    inputs: dict[str, str]
    outputs: dict[str, str]


Backend = Literal["onnxruntime", "tensorrt", "python"]
"""Triton's backend of a model: the portable file, a TensorRT plan, or a model of one's own."""


def model_config(
    name: str,
    backend: Backend,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    serving: ServingConfig,
    *,
    batched: bool = True,
    warm_up: Mapping[str, Shape] | None = None,
    ranges: Mapping[str, tuple[Shape, Shape, Shape]] | None = None,
) -> ModelConfig:
    """A model with dynamic batching, priorities and warm-up.

    Specs carry the whole shape, the batch axis first where ``batched``. A model without a batch axis gets
    ``max_batch_size: 0``; its requests run one at a time, from the same queue with the same bounds. ``warm_up``: input
    → shape of one sample, for axes that are free; 16 where it says nothing. ``ranges``: input → least, usual and most
    sizes, the batch's included; what ``accelerator: tensorrt-ep`` compiles for.
    """
    config: dict[str, Any] = {
        "name": name,
        "backend": backend,
        "max_batch_size": serving.max_batch_size if batched else 0,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [_tensor(spec, batched=batched) for spec in inputs],
        "output": [_tensor(spec, batched=batched) for spec in outputs],
        "instance_group": [{"kind": _INSTANCE_KINDS[serving.instance_kind], "count": serving.instances}],
        "dynamic_batching": _dynamic_batching(
            serving, delay_ms=serving.batching.max_queue_delay_ms if batched else 0, bounded=True
        ),
    }
    if backend == "onnxruntime" and serving.accelerator == "tensorrt-ep":
        config["optimization"] = _tensorrt_provider(name, serving, ranges or {})
    if backend == "onnxruntime" and serving.intra_op_threads:
        config["parameters"] = _parameters(intra_op_thread_count=serving.intra_op_threads)
    if serving.warm_up:
        sizes = sorted({1, serving.max_batch_size}) if batched else [0]
        config["model_warmup"] = [_warm_up(inputs, size, warm_up or {}, batched=batched) for size in sizes]
    return message(config)


def _tensorrt_provider(
    name: str, serving: ServingConfig, ranges: Mapping[str, tuple[Shape, Shape, Shape]]
) -> dict[str, Any]:
    """ONNX Runtime's TensorRT execution provider, its engines and timings cached in a folder of the model's own.

    With ``ranges`` it compiles once for all of them; without, it would compile anew, for minutes, at each request that
    is larger or smaller than those before. Keys: README of triton-inference-server/onnxruntime_backend, "ONNX Runtime
    with TensorRT optimization".
    """
    cache = f"{serving.engine_cache.rstrip('/')}/{name}"
    options = {
        "precision_mode": "FP16",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }
    for index, bound in enumerate(("min", "opt", "max")) if ranges else ():
        sized = (f"{one}:{'x'.join(map(str, sizes[index]))}" for one, sizes in ranges.items())
        options[f"trt_profile_{bound}_shapes"] = ",".join(sized)
    return {"execution_accelerators": {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": options}]}}


def tokenizer_config(name: str, text: TextCodec, serving: ServingConfig) -> ModelConfig:
    """The tokenizer: batches what is there and waits for nothing; the encoder behind it bounds the queue."""
    return message(
        {
            "name": name,
            "backend": "python",
            "max_batch_size": serving.max_batch_size,
            "version_policy": {"latest": {"num_versions": 1}},
            "input": [{"name": "TEXT", "data_type": "TYPE_STRING", "dims": [1]}],
            "output": [
                {"name": part, "data_type": "TYPE_INT64", "dims": [-1]} for part in ("input_ids", "attention_mask")
            ],
            "instance_group": [{"kind": "KIND_CPU", "count": 1}],
            "dynamic_batching": _dynamic_batching(serving, delay_ms=0, bounded=False),
            "parameters": _parameters(
                max_length=text.max_length, pad_to_multiple_of=text.pad_to_multiple_of, pad_id=text.pad_id
            ),
        }
    )


def longest_text(config: ModelConfig) -> int | None:
    """Tokens that a tokenizer's configuration cuts texts to, padding included; ``None`` of any other model."""
    most, step = (config.parameters.get(key) for key in ("max_length", "pad_to_multiple_of"))
    return padded(int(most.string_value), int(step.string_value)) if most and step else None


def ensemble_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    steps: Sequence[EnsembleStep],
    serving: ServingConfig,
) -> ModelConfig:
    """The model that clients call. A request's priority and timeout pass through to the steps."""
    return message(
        {
            "name": name,
            "platform": "ensemble",
            "max_batch_size": serving.max_batch_size,
            "version_policy": {"latest": {"num_versions": 1}},
            "input": [_tensor(spec, batched=True) for spec in inputs],
            "output": [_tensor(spec, batched=True) for spec in outputs],
            "ensemble_scheduling": {
                "step": [
                    {
                        "model_name": step.model,
                        "model_version": -1,
                        "input_map": step.inputs,
                        "output_map": step.outputs,
                    }
                    for step in steps
                ]
            },
        }
    )


def _tensor(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    data_type = _CONFIG_TYPES.get(spec.dtype, f"TYPE_{spec.dtype}")
    dims = list(spec.shape[1:] if batched else spec.shape)
    return {"name": spec.name, "data_type": data_type, "dims": dims}


def _parameters(**values: int) -> dict[str, Any]:
    return {key: {"string_value": str(value)} for key, value in values.items()}


def _dynamic_batching(serving: ServingConfig, *, delay_ms: float, bounded: bool) -> dict[str, Any]:
    batching = serving.batching
    queue_size = batching.max_queue_size if bounded else 0

    def policy(seconds: float) -> dict[str, Any]:
        return {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": round(seconds * 1e6),
            "allow_timeout_override": True,
            "max_queue_size": queue_size,
        }

    return {
        "max_queue_delay_microseconds": round(delay_ms * 1000),
        "priority_levels": len(PROMISES),
        "default_priority_level": PROMISES[DEFAULT_CLASS].triton_priority,
        "default_queue_policy": policy(batching.timeout_s[DEFAULT_CLASS]),
        "priority_queue_policy": {
            str(promise.triton_priority): policy(batching.timeout_s[name]) for name, promise in PROMISES.items()
        },
    }


def _warm_up(
    inputs: Sequence[TensorSpec], batch_size: int, shapes: Mapping[str, tuple[int, ...]], *, batched: bool
) -> dict[str, Any]:
    """A request of zeros: they are valid token ids, and an all-zero mask is guarded against."""

    def dims(spec: TensorSpec) -> list[int]:
        sample = shapes.get(spec.name, (_WARM_UP_LENGTH,) * len(spec.shape))
        whole = [size if size > 0 else instead for size, instead in zip(spec.shape, sample, strict=True)]
        return whole[1:] if batched else whole

    return {
        "name": f"zeros_batch_{batch_size}",
        "batch_size": batch_size,
        "inputs": {
            spec.name: {"data_type": f"TYPE_{spec.dtype}", "dims": dims(spec), "zero_data": True} for spec in inputs
        },
    }
