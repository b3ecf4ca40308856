"""The inputs and outputs of a model, in Triton's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_packaging.sources import LoadedModel
from model_packaging.tensors import checks
from spillway.contracts.manifest import PackageError, TensorSpec

_TRITON_TYPES: Final = {
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(int16)": "INT16",
    "tensor(int8)": "INT8",
    "tensor(uint8)": "UINT8",
    "tensor(bool)": "BOOL",
}


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def client_signature(model: LoadedModel, network: Signature) -> Signature:
    """What clients see: of a text model the tokenizer's input, of any other the network's."""
    if model.text is None:
        return network
    return Signature((TensorSpec(name="TEXT", dtype="BYTES", shape=(-1, 1)),), network.outputs)


def common_signature(onnx_files: Mapping[str, Path]) -> Signature:
    """What every served variant, by name, takes and gives: a request must fit whichever site it reaches.

    Raises :class:`PackageError` where two differ, or where one cannot be served.
    """
    found = {name: _signature(path) for name, path in onnx_files.items()}
    (first, signature), *others = found.items()
    for name, other in others:
        if other != signature:
            raise PackageError(
                f"serve: {first} and {name} differ in their inputs or outputs, so a request would fit one site only: "
                f"{signature} and {other}. Serve one of them everywhere."
            )
    return signature


def _signature(onnx_file: Path) -> Signature:
    """Of an ONNX file, with the whole shape that a client sends."""
    session = checks.open_session(onnx_file)
    return Signature(_specs(session.get_inputs()), _specs(session.get_outputs()))


def _specs(tensors: Sequence[Any]) -> tuple[TensorSpec, ...]:
    found = []
    for tensor in tensors:
        if tensor.type not in _TRITON_TYPES:
            raise PackageError(f"{tensor.name}: {tensor.type} cannot be served; known: {', '.join(_TRITON_TYPES)}.")
        shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
        found.append(TensorSpec(name=tensor.name, dtype=_TRITON_TYPES[tensor.type], shape=shape))
    return tuple(found)
