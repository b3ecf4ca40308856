"""A folder of safetensors as it lies on disk: what is in it, without reading the numbers.

Whether files are whole is judged by the format (https://github.com/huggingface/safetensors, "Format"): eight bytes of
length, a JSON header, and tensors that fill the rest without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import torch

INDEX: Final = "model.safetensors.index.json"
FLOATS: Final = ("F64", "F32", "F16", "BF16")
"""Types of numbers that nobody quantized."""
_BITS: Final = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    "F4": 4,
}
_LONGEST_HEADER: Final = 100_000_000
"""As in the library; a longer one is no header."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor: where it lies, its type as safetensors names it, its shape, and its length in bytes."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class Weights:
    """Every tensor of a folder, by name, in the order of files and headers."""

    folder: Path
    tensors: Mapping[str, StoredTensor]

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))

    def read(self, name: str) -> torch.Tensor:
        """One tensor's numbers."""
        from safetensors import safe_open

        with safe_open(self.tensors[name].file, framework="pt") as stream:
            return stream.get_tensor(name)

    def each(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor in turn, one in memory at a time; each file is opened once."""
        from safetensors import safe_open

        for path in self.files():
            with safe_open(path, framework="pt") as stream:
                for name in stream.keys():  # noqa: SIM118
                    yield name, stream.get_tensor(name)


def open_weights(folder: Path) -> Weights:
    """Read every header. Raises :class:`PackageError` for a file that is cut, overlaps, or is not as the index says."""
    found: dict[str, StoredTensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for tensor in _header(path):
            if tensor.name in found:
                raise PackageError(f"{path}: {tensor.name} is in {found[tensor.name].file.name}, too.")
            found[tensor.name] = tensor
    _check_index(folder, found)
    return Weights(folder, found)


def _header(path: Path) -> Iterator[StoredTensor]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise PackageError(f"{path}: is no safetensors file, or was cut short.")
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise PackageError(f"{path}: its header is not JSON: {error}") from None
    header.pop("__metadata__", None)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        bits = _BITS.get(entry["dtype"])
        if bits is None:
            raise PackageError(f"{path}: {name} is of the unknown type {entry['dtype']}.")
        if start != end or stop - start != math.prod(entry["shape"]) * bits // 8:
            raise PackageError(f"{path}: {name} does not have the length of its shape {entry['shape']}.")
        end = stop
        yield StoredTensor(name, path, entry["dtype"], tuple(entry["shape"]), stop - start)
    if 8 + length + end != size:
        raise PackageError(f"{path}: holds {size - 8 - length} bytes of weights, its header {end}: it was cut short.")


def _check_index(folder: Path, found: Mapping[str, StoredTensor]) -> None:
    path = folder / INDEX
    if not path.is_file():
        if len({tensor.file for tensor in found.values()}) > 1:
            raise PackageError(f"{folder}: several *.safetensors files and no {INDEX}: nothing says which belong.")
        return
    try:
        listed: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
        raise PackageError(f"{path}: is no index of weights: {error!r}") from None
    stored = {name: tensor.file.name for name, tensor in found.items()}
    wrong = sorted(name for name in listed.keys() | stored.keys() if listed.get(name) != stored.get(name))
    if wrong:
        where, says = stored.get(wrong[0], "no file"), listed.get(wrong[0], "no file")
        raise PackageError(
            f"{folder}: {wrong[0]} (and {len(wrong) - 1} more) is in {where}, and {INDEX} says {says}: "
            "files of two models, or a download that was not finished."
        )
