"""The ``variants:`` of a language model's model.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from model_packaging.language.variants import SCHEMES
from model_packaging.language.variants.scheme import Scheme
from spillway.contracts.frozen import Frozen

if TYPE_CHECKING:
    Precision = str
else:
    Precision = Literal[tuple(SCHEMES)]


class LanguageVariant(Frozen):
    """One precision to try, and what it must hold against the fp32 reference. What fails is reported and left out."""

    precision: Precision
    group_size: Literal[32, 64, 128] | None = None
    """Weights that share a scale along a row, for w8a16 and w4a16; by default a whole row shares one."""
    method: Literal["round", "gptq"] = "round"
    """``round`` needs no data; ``gptq`` rounds against the calibration text, for w8a16 and w4a16."""
    keep: tuple[str, ...] = ()
    """Linear layers left unquantized, as the checkpoint names them, or patterns as ``re:.*down_proj``. Head and routers
    always are, and of latent attention ``kv_b_proj``."""
    max_perplexity_ratio: float = Field(gt=0)
    """Highest perplexity, as a multiple of the reference's."""
    min_top1: float = Field(default=0, ge=0, le=1)
    """Lowest share of positions whose likeliest token is the reference's."""
    min_greedy_match: float = Field(default=0, ge=0, le=1)
    """Lowest share of greedily generated tokens before an answer first differs from the reference's."""

    @property
    def name(self) -> str:
        return self.precision if self.method == "round" else f"{self.precision}-{self.method}"

    @property
    def scheme(self) -> Scheme:
        return SCHEMES[self.precision]

    @model_validator(mode="after")
    def _fits(self) -> LanguageVariant:
        if not self.scheme.weight_only and (self.group_size is not None or self.method != "round"):
            these = " and ".join(scheme.precision for scheme in SCHEMES.values() if scheme.weight_only)
            raise ValueError(f"{self.precision} takes neither group_size nor method; {these} do")
        if self.scheme.weights is None and self.keep:
            raise ValueError(f"{self.precision} quantizes nothing; remove keep")
        return self
