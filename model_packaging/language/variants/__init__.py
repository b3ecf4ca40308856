"""Variants of a language model: what each precision is, and what it does to a model's layers. A new one is a line here:
docs/contributing/add-a-variant.md."""

from __future__ import annotations

from typing import Final

from model_packaging.language.variants.scheme import FP8, INT4, INT8, Scheme

_EVERY: Final = (
    Scheme("bf16", dtype="bfloat16"),
    Scheme("fp16", dtype="float16"),
    Scheme("w8a16", format="pack-quantized", weights=INT8),
    Scheme("w4a16", format="pack-quantized", weights=INT4),
    Scheme("w8a8-int8", format="int-quantized", weights=INT8, inputs=INT8, experts=False),
    Scheme("fp8", format="float-quantized", weights=FP8, inputs=FP8),
    Scheme("fp8-block", format="fp8-block", weights=FP8, inputs=FP8),
)
SCHEMES: Final[dict[str, Scheme]] = {scheme.precision: scheme for scheme in _EVERY}
"""By the precision that model.yaml names."""
