"""Kubernetes quantities (``500m``, ``16Gi``, ``1e3``)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import Field

CpuQuantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?m?$")]
"""CPUs as Kubernetes writes them: ``500m``, ``4``."""

MemoryQuantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$")]
"""Bytes as Kubernetes writes them: ``16Gi``. Thousandths of a byte, which it takes with a warning, are a mistake."""

_PATTERN: Final = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(m|u|n|[kMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$")
_SUFFIXES: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def parse_quantity(value: Any) -> Decimal:
    """The number a quantity stands for. ``ValueError`` when it is none."""
    match = _PATTERN.match(str(value))
    if match is None or isinstance(value, bool):
        raise ValueError("quantities must be a number with an optional suffix such as m, k, M, G, Ki, Mi or Gi")
    number, suffix = match.group(1), match.group(2) or ""
    if suffix[:1] in ("e", "E") and suffix not in _SUFFIXES:
        return Decimal(number + suffix)
    return Decimal(number) * _SUFFIXES[suffix]


def format_quantity(value: Decimal) -> str:
    """A quantity as an API server would print it, without binary suffixes."""
    if value == value.to_integral_value():
        return str(int(value))
    return f"{int(value * 1000)}m"
