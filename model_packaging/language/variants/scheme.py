"""What a precision is in the terms of the formats that vLLM reads.

Most are compressed-tensors' (vllm/model_executor/layers/quantization/compressed_tensors): ``pack-quantized`` → its
WNA16 scheme, ``int-quantized`` with per-token activations → W8A8Int8, ``float-quantized`` → W8A8Fp8 (W8A16Fp8 where the
GPU has no fp8). Only keys that compressed-tensors 0.11 knows are written: its models refuse keys that later versions
added. ``fp8-block`` is the form of DeepSeek's own checkpoints (vllm/model_executor/layers/quantization/fp8.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

BLOCK: Final = 128
"""Rows, and columns, that share a scale in ``fp8-block``."""


@dataclass(frozen=True)
class Number:
    """What weights or inputs are rounded to. ``name``: as people say it."""

    name: str
    type: Literal["int", "float"]
    bits: int


INT8: Final = Number("int8", "int", 8)
INT4: Final = Number("int4", "int", 4)
FP8: Final = Number("fp8 e4m3", "float", 8)


@dataclass(frozen=True)
class Scheme:
    """One precision. ``weights`` and ``inputs``: what those of linear layers are rounded to; ``None`` for not at all.

    ``dtype``: of everything that is left unquantized, where the precision says it; else model.yaml does. ``experts``:
    whether transformers reads experts of it back, without which they cannot be checked.
    """

    precision: str
    dtype: str | None = None
    format: str = "dense"
    weights: Number | None = None
    inputs: Number | None = None
    experts: bool = True

    @property
    def weight_only(self) -> bool:
        """Whether it takes a group size, and GPTQ: for weights that are unpacked before they are multiplied."""
        return self.weights is not None and self.inputs is None

    @property
    def blocks(self) -> bool:
        """Whether scales are those of blocks, in DeepSeek's form."""
        return self.format == "fp8-block"

    @property
    def method(self) -> str:
        """``quant_method`` of config.json."""
        return "none" if self.weights is None else "fp8" if self.blocks else "compressed-tensors"

    def weight_arguments(self, group_size: int | None) -> dict[str, Any]:
        assert self.weights is not None
        strategy = "channel" if group_size is None else "group"
        return _arguments(self.weights, strategy, group_size, dynamic=False)

    def input_arguments(self) -> dict[str, Any] | None:
        """Per token and dynamic: scales are taken from each request, so nothing has to be calibrated."""
        return _arguments(self.inputs, "token", None, dynamic=True) if self.inputs else None

    def config(self, group_size: int | None, ignored: Collection[str]) -> dict[str, Any]:
        """``quantization_config`` of config.json."""
        if self.blocks:
            return {
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": [BLOCK, BLOCK],
                "modules_to_not_convert": sorted(ignored),
            }
        return {
            "quant_method": "compressed-tensors",
            "format": self.format,
            "quantization_status": "compressed",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": self.weight_arguments(group_size),
                    "input_activations": self.input_arguments(),
                    "output_activations": None,
                }
            },
            "ignore": sorted(ignored),
            "kv_cache_scheme": None,
            "global_compression_ratio": None,
        }

    def summary(
        self, layers: int, experts: int, group_size: int | None, method: Literal["round", "gptq"] = "round"
    ) -> str:
        """What becomes of so many linear layers, experts among them, in words."""
        if self.weights is None:
            return self.precision
        scales = f"scale per {group_size} weights" if group_size else "scale per row"
        if self.blocks:
            scales = f"scale per block of {BLOCK} by {BLOCK}"
        how = "GPTQ" if method == "gptq" else "rounded to nearest"
        inputs = (
            f", {self.inputs.name} inputs scaled per {f'{BLOCK} of a ' if self.blocks else ''}token"
            if self.inputs
            else ""
        )
        of_experts = f" ({experts} of experts)" if experts else ""
        return f"{self.weights.name} weights of {layers} linear layers{of_experts}, {scales}, {how}{inputs}"


def _arguments(number: Number, strategy: str, group_size: int | None, *, dynamic: bool) -> dict[str, Any]:
    return {
        "num_bits": number.bits,
        "type": number.type,
        "symmetric": True,
        "strategy": strategy,
        "group_size": group_size,
        "dynamic": dynamic,
    }
