"""Calibration data: given by file, counted and hashed, never made up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_packaging.errors import ModelConfigError
from model_packaging.sources import LoadedModel
from model_packaging.sources.samples import ARRAYS, read_arrays, read_whole_arrays
from model_packaging.sources.signatures import scalars_to_rows
from model_packaging.sources.sound import fits, kind
from model_packaging.tensors.variants.context import Feed
from spillway.contracts.manifest import CalibrationData

if TYPE_CHECKING:
    import torch


def read(path: Path, model: LoadedModel) -> tuple[list[Feed], CalibrationData]:
    """The samples of a calibration file as the model takes them: a sentence a line for a text model, else the arrays of
    an ``.npz`` file. Raises :class:`ModelConfigError` when there are none or they do not fit the model."""
    if model.text is not None:
        batches = [model.text.encode([line]) for line in _lines(path)]
    else:
        try:
            read_file = read_arrays if model.batched else read_whole_arrays
            batches = [scalars_to_rows(sample) for sample in read_file(path)]
        except ModelConfigError as error:
            raise ModelConfigError(str(error).replace("samples:", "calibration:", 1)) from None
    names = set(model.samples[0])
    if set(batches[0]) != names:
        raise ModelConfigError(
            f"calibration: {path} has the arrays {sorted(batches[0])}, and the model takes {sorted(names)}."
        )
    for name, tensor in batches[0].items():
        _check_fits(path, model, name, tensor)
    feeds = [{name: tensor.numpy() for name, tensor in batch.items()} for batch in batches]
    return feeds, CalibrationData(name=path.name, samples=len(feeds), sha256=_sha256(feeds))


def _check_fits(path: Path, model: LoadedModel, name: str, tensor: torch.Tensor) -> None:
    if not fits(model, name, tensor):
        wanted, labels = model.samples[0][name], model.dynamic_axes.get(name, {})
        dtype = str(wanted.dtype).removeprefix("torch.")
        sizes = ", ".join(str(labels.get(axis, size)) for axis, size in enumerate(wanted.shape))
        raise ModelConfigError(
            f"calibration: {path}: a sample of {name} is {kind(tensor)}, and the model takes {dtype} [{sizes}]. "
            f"Give {ARRAYS}; array.astype(np.{dtype}) gives the dtype."
        )


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ModelConfigError(f"calibration: {path} is not UTF-8 text: {error}. Give a sentence a line.") from None
    lines = [line for line in lines if line]
    if not lines:
        raise ModelConfigError(
            f"calibration: {path} is empty. Give sentences like those that the model will serve, one a line: "
            "50 of all lengths are a good start."
        )
    return lines


def _sha256(feeds: Sequence[Feed]) -> str:
    """Over names, types, shapes and values, in order."""
    digest = hashlib.sha256()
    for feed in feeds:
        for name, array in sorted(feed.items()):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
