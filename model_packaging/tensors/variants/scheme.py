"""What a precision is: its name, how it is made, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_packaging.tensors.variants.context import Context, Made


@dataclass(frozen=True)
class Scheme:
    """One precision. ``make`` raises :class:`NotAvailable` where it cannot be had, :class:`PackageError` where it
    fails; it does not judge what it made."""

    precision: str
    make: Callable[[Context], Made]
    calibrated: bool = False
    """Whether it needs calibration data."""
    torch_only: bool = False
    """Whether the result runs in torch: it is made, checked and kept, and no Triton repository serves it."""
    keeps_high: bool = False
    """Whether it can leave chosen layers in fp32."""
