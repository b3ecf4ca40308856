"""What every scheme works from, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from model_packaging.sources import LoadedModel
from spillway.contracts.manifest import ParityFigure
from spillway.contracts.targets import Container, OnnxLevel

if TYPE_CHECKING:
    from torch import nn

Feed = dict[str, np.ndarray]


class NotAvailable(Exception):  # noqa: N818 - it is an answer, which the table prints, and no failure of the build
    """A variant that this machine, these libraries or the package's targets cannot have. Says why."""


@dataclass(frozen=True)
class Context:
    """``exported``: the fp32 ONNX file. ``work``: a folder for files, this variant's alone. ``parity``: checks an ONNX
    file against the reference. ``calibration``: the given samples, each as one feed; empty where none were given.
    ``keep_high`` and ``max_kept_high``: as model.yaml says them of this variant."""

    model: LoadedModel
    exported: Path
    work: Path
    level: OnnxLevel
    targets: tuple[Container, ...]
    calibration: Sequence[Feed]
    parity: Callable[[Path], ParityFigure]
    progress: Callable[[str], None]
    keep_high: Literal["auto"] | tuple[str, ...] = ()
    max_kept_high: int = 0

    @property
    def high_patterns(self) -> tuple[str, ...]:
        """Names or patterns of the layers that stay in fp32; none where a search finds them."""
        return () if self.keep_high == "auto" else self.keep_high

    def lowest_runtime(self) -> tuple[tuple[int, int], str]:
        """The oldest ONNX Runtime among the targets, as numbers, and the name of that target."""
        return min((tuple_of(row.onnx_runtime), row.name) for row in self.targets)


@dataclass(frozen=True)
class Made:
    """A finished variant: its file, how it was made, in words, and the module where it runs in torch."""

    path: Path
    detail: str = ""
    module: nn.Module | None = None


def tuple_of(version: str) -> tuple[int, int]:
    """``1.23.0`` → (1, 23)."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
