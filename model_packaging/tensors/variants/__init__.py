"""Variants of a model: one module per way to make them, each with the schemes that it makes from the exported fp32
file. A new scheme is a module and a line here: docs/contributing/add-a-variant.md."""

from __future__ import annotations

from typing import Final

from model_packaging.tensors.variants.floats import BF16, FP16, FP32
from model_packaging.tensors.variants.int8_dynamic import INT8_DYNAMIC
from model_packaging.tensors.variants.int8_static import INT8_STATIC
from model_packaging.tensors.variants.scheme import Scheme
from model_packaging.tensors.variants.torchao_int8 import (
    TORCHAO_FP8_WEIGHTS,
    TORCHAO_INT8_DYNAMIC,
    TORCHAO_INT8_WEIGHTS,
)
from model_packaging.tensors.variants.weight_only import INT4_WEIGHTS, INT8_WEIGHTS

_EVERY: Final = (
    FP32,
    FP16,
    BF16,
    INT8_DYNAMIC,
    INT8_STATIC,
    INT8_WEIGHTS,
    INT4_WEIGHTS,
    TORCHAO_INT8_DYNAMIC,
    TORCHAO_INT8_WEIGHTS,
    TORCHAO_FP8_WEIGHTS,
)
SCHEMES: Final[dict[str, Scheme]] = {scheme.precision: scheme for scheme in _EVERY}
"""By the precision that model.yaml names."""
