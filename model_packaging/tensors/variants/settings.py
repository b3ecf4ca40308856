"""The ``variants:`` of a model.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from model_packaging.tensors.variants import SCHEMES
from model_packaging.tensors.variants.scheme import Scheme
from spillway.contracts.frozen import Frozen

if TYPE_CHECKING:
    Precision = str
else:
    Precision = Literal[tuple(SCHEMES)]


class Variant(Frozen):
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

    @property
    def scheme(self) -> Scheme:
        return SCHEMES[self.precision]

    @model_validator(mode="after")
    def _keeps_where_it_can(self) -> Variant:
        if self.keep_high and not self.scheme.keeps_high:
            these = sorted(scheme.precision for scheme in SCHEMES.values() if scheme.keeps_high)
            raise ValueError(f"keep_high: {self.precision} keeps no layer high; these do: {these}")
        if self.keep_high == "auto" and not self.scheme.calibrated:
            these = sorted(scheme.precision for scheme in SCHEMES.values() if scheme.calibrated)
            raise ValueError(f"keep_high: auto measures on calibration data, so it is for {these}")
        return self
