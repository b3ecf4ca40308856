"""The ``variants:`` of a model.yaml."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from spillway.contracts.settings import Settings

Precision = Literal[
    "fp32",
    "fp16",
    "bf16",
    "int8-dynamic",
    "int8-static",
    "int8-weights",
    "int4-weights",
    "torchao-int8-dynamic",
    "torchao-int8-weights",
    "torchao-fp8-weights",
]

CALIBRATED: Final = frozenset({"int8-static"})
"""Precisions that need calibration data."""
TORCH_ONLY: Final = frozenset({"torchao-int8-dynamic", "torchao-int8-weights", "torchao-fp8-weights"})
"""Precisions whose result runs in torch; they are made, checked and kept, and no Triton repository serves them."""
MAY_KEEP_HIGH: Final = frozenset({"fp16", "int8-dynamic", "int8-static", "int8-weights", "int4-weights"})
"""Precisions that can leave chosen layers in fp32."""


class Variant(Settings):
    """One precision to try. A variant that misses its bound is reported and left out."""

    precision: Precision
    min_cosine: float = Field(gt=0, le=1)
    """Lowest cosine to the fp32 reference, over all samples, batch sizes and lengths."""
    min_top1: float | None = Field(default=None, gt=0, le=1)
    """For classifiers: the least share of rows whose highest score is the reference's own."""
    keep_high: Literal["auto"] | tuple[str, ...] = ()
    """Layers that stay in fp32: names or patterns (``*.output.dense``), or ``auto``, a measured search for few
    that hold the bound. The progress lines and the table name them."""
    max_kept_high: int = Field(default=6, ge=1, le=64)
    """How many layers ``keep_high: auto`` may leave in fp32."""

    @property
    def name(self) -> str:
        return self.precision

    @model_validator(mode="after")
    def _keeps_where_it_can(self) -> Variant:
        if self.keep_high and self.precision not in MAY_KEEP_HIGH:
            raise ValueError(f"keep_high: {self.precision} keeps no layer high; these do: {sorted(MAY_KEEP_HIGH)}")
        if self.keep_high == "auto" and self.precision not in CALIBRATED:
            raise ValueError(f"keep_high: auto measures on calibration data, so it is for {sorted(CALIBRATED)}")
        return self
