"""What every source becomes: a model in memory, with the samples that it is checked on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.errors import ModelConfigError
from spillway.contracts.manifest import PackageError, PackageSource, sha256_of_file

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram
    from torch.jit import ScriptModule

Batch = dict[str, "torch.Tensor"]

TORCH_REFERENCE: Final = "torch-fp32"
"""Name of the reference, and of its row in the latency table, where the source is a torch model."""

MAX_SOURCE_BYTES: Final = 2_000_000_000
"""One ONNX file is one protocol-buffer message, and that holds 2 GiB at most (protobuf.dev, "Proto Limits")."""


def padded(tokens: int, step: int) -> int:
    """The length that a server pads a text of so many tokens to, where it pads to multiples of ``step``."""
    return -(-tokens // step) * step


@dataclass(frozen=True)
class TextCodec:
    """The tokenizer of a text model, the length that texts are cut to, and how servers pad them."""

    tokenizer_json: Path
    max_length: int
    pad_to_multiple_of: int = 1
    pad_id: int = 0
    """The token that fills texts up: the model's own, since there are heads that look for it."""

    @property
    def longest(self) -> int:
        """Tokens of the longest text that a server sends the model, padding included."""
        return padded(self.max_length, self.pad_to_multiple_of)

    def encode(self, texts: Sequence[str]) -> Batch:
        """``input_ids`` and ``attention_mask``, INT64 [texts, tokens], padded to the longest text."""
        import torch
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer_json))
        tokenizer.enable_truncation(self.max_length)
        tokenizer.enable_padding(pad_id=self.pad_id)
        encoded = tokenizer.encode_batch(list(texts))
        return {
            "input_ids": torch.tensor([item.ids for item in encoded], dtype=torch.int64),
            "attention_mask": torch.tensor([item.attention_mask for item in encoded], dtype=torch.int64),
        }


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, in fp32 and evaluation mode, with the samples that it is checked on.

    ``module`` takes the inputs by name. The reference of every parity figure is what it answers to each row alone, or
    ``expected``; ``reference`` says what computes it. ``samples``: named inputs, batch axis first where ``batched``.
    ``outputs``: names, in the module's order.
    """

    module: nn.Module
    samples: tuple[Batch, ...]
    outputs: tuple[str, ...]
    source: PackageSource
    text: TextCodec | None = None
    dynamic_axes: dict[str, dict[int, str]] = field(default_factory=dict)
    """Input → axis → label. Axis 0 of every input is ``batch`` where the model is batched."""
    batched: bool = True
    """Whether several requests can go through the model at once, side by side on axis 0."""
    reference: str = TORCH_REFERENCE
    graph: ExportedProgram | ScriptModule | Path | None = None
    """Where the source is a graph already, it is what becomes the ONNX file: a program, TorchScript or an ONNX file."""
    batch_axes: dict[str, int] = field(default_factory=dict)
    """Input or output of ``graph`` → its batch axis there, where that is not 0. ``module`` has it in front."""
    labels: tuple[str, ...] = ()
    """Names of a classifier's classes, in the order of its scores."""
    expected: tuple[Batch, ...] = ()
    """What the library that the source is made for answers to each sample alone, by output name; empty where that is
    ``module`` itself."""

    def answer(self, batch: Batch) -> Batch:
        """What the reference answers to a batch, by output name. Raises :class:`PackageError` where it does not fit."""
        import torch

        with torch.no_grad():
            answer = self.module(**batch)
        tensors = tuple(answer.values()) if isinstance(answer, Mapping) else answer
        if isinstance(tensors, torch.Tensor):
            tensors = (tensors,)
        if not isinstance(tensors, tuple | list) or not all(isinstance(item, torch.Tensor) for item in tensors):
            raise PackageError(
                f"The model returns {_kind(answer)}; it must return a tensor, or a tuple or dict of tensors."
            )
        if len(tensors) != len(self.outputs):
            raise PackageError(
                f"The model returns {len(tensors)} tensors, and {len(self.outputs)} outputs are named: "
                f"{', '.join(self.outputs)}. Name each one, in order."
            )
        return dict(zip(self.outputs, tensors, strict=True))


@dataclass(frozen=True)
class Place:
    """Where the paths of a model.yaml start, and its file of samples."""

    base_dir: Path
    samples: Path | None

    def resolve(self, path: Path) -> Path:
        return (self.base_dir / path).resolve()

    def samples_file(self, what: str) -> Path:
        """The file of samples. ``what``: what it should hold. Raises :class:`ModelConfigError` when there is none."""
        if self.samples is None:
            raise ModelConfigError(f"samples: give {what}; parity is measured on it, and samples are never made up.")
        path = self.resolve(self.samples)
        if not path.is_file():
            raise ModelConfigError(f"samples: {path}: no such file. Give {what}.")
        return path


def files_sha256(files: Mapping[str, Path]) -> str:
    """One hash over names and contents."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def dynamic_batch(names: Sequence[str]) -> dict[str, dict[int, str]]:
    """The axes of inputs that share a batch axis and are fixed otherwise."""
    return {name: {0: "batch"} for name in names}


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {', '.join(type(item).__name__ for item in value) or 'nothing'}"
    return type(value).__name__
