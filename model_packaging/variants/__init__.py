"""Variants of a model: one module per scheme. Each makes a file from the exported fp32 one; none judges itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from model_packaging.variants import floats, int8_dynamic, int8_static, torchao_int8, weight_only
from model_packaging.variants.context import Context, Made, NotAvailable
from model_packaging.variants.settings import CALIBRATED, TORCH_ONLY, Precision, Variant

__all__ = ["CALIBRATED", "TORCH_ONLY", "Context", "Made", "NotAvailable", "Precision", "Variant", "make"]

_SCHEMES: Final[dict[Precision, Callable[[Variant, Context], Made]]] = {
    "fp32": floats.fp32,
    "fp16": floats.fp16,
    "bf16": floats.bf16,
    "int8-dynamic": int8_dynamic.make,
    "int8-static": int8_static.make,
    "int8-weights": weight_only.make,
    "int4-weights": weight_only.make,
    "torchao-int8-dynamic": torchao_int8.make,
    "torchao-int8-weights": torchao_int8.make,
    "torchao-fp8-weights": torchao_int8.make,
}


def make(variant: Variant, context: Context) -> Made:
    """Make one variant. Raises :class:`NotAvailable` where it cannot be had, :class:`PackageError` where it fails."""
    return _SCHEMES[variant.precision](variant, context)
