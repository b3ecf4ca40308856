"""How an engine is built."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator

from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageError

Precision = Literal["fp32", "fp16", "int8", "fp8"]
Range = tuple[int, int, int]
"""Least, tuned for, most."""

SEQUENCE: Final = "sequence"
"""The name that the ONNX file of a text model gives to the axis of tokens."""
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8", "fp8")
CALIBRATED: Final[tuple[Precision, ...]] = ("int8", "fp8")
"""Precisions whose activation scales are measured on samples."""


class EngineSettingsError(PackageError):
    """What was asked for is no engine's settings. Says which key, what was given, what is allowed."""


class EngineSettings(Frozen):
    """What the compiler is asked for.

    Each range of ``batches`` becomes an optimisation profile of its own: kernels that are best for one request are not
    best for 32, and a profile is tuned for its middle figure only.
    """

    precision: Precision = "fp16"
    batches: tuple[Range, ...] = Field(default=((1, 1, 1), (2, 8, 8), (9, 32, 32)), min_length=1)
    axes: dict[str, Range] = Field(default_factory=lambda: {SEQUENCE: (1, 128, 256)})
    """Ranges of the other dynamic axes, by the name that the ONNX file gives them."""
    min_cosine: float = Field(default=0.99, gt=0, le=1)
    """Lowest cosine to the fp32 model over all samples; an engine below it is not kept."""
    optimisation_level: int = Field(default=3, ge=0, le=5)
    """TensorRT's builder optimisation level; 5 tries the most tactics and takes longest."""
    workspace_gib: float = Field(default=4, gt=0)
    hardware_compatibility: Literal["none", "ampere-plus", "same-compute-capability"] = "none"
    """``ampere-plus`` runs on every GPU since compute capability 8.0, and is slower."""
    version_compatible: bool = False
    """Runs on later TensorRT releases of the same major version, and is slower."""
    high_precision: tuple[str, ...] = ()
    """Parts of node names that int8 and fp8 leave in fp16."""

    @field_validator("batches", "axes")
    @classmethod
    def _ordered(cls, value: tuple[Range, ...] | dict[str, Range]) -> tuple[Range, ...] | dict[str, Range]:
        for least, tuned, most in value.values() if isinstance(value, dict) else value:
            if not 1 <= least <= tuned <= most:
                raise ValueError(f"({least}, {tuned}, {most}): give least, tuned for, most, in this order, from 1 up")
        return value
