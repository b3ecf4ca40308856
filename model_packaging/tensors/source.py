"""The model of a model.yaml, and the files that it is made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model_packaging.errors import ModelConfigError
from model_packaging.sources import LoadedModel
from model_packaging.sources.model import Place
from model_packaging.sources.sound import check_sound
from model_packaging.tensors.config import TensorConfig


def source_files(config: TensorConfig) -> dict[str, Path]:
    """Name → path of every file that the build reads.

    Raises :class:`PackageError` or :class:`ModelConfigError` when one is missing. Imports neither torch nor the model.
    """
    files = config.source.files(_place(config))
    if config.calibration is None:
        return files
    path = config.resolve(config.calibration)
    if not path.is_file():
        raise ModelConfigError(f"calibration: {path}: no such file. Give real data; it is never made up.")
    return {**files, "calibration": path}


def load(config: TensorConfig) -> LoadedModel:
    """Load the model and run it once on a sample.

    Raises :class:`PackageError` when its files are missing, unsafe or damaged, and when it does not take its samples.
    """
    model = config.source.load(_place(config))
    if model.text is not None:
        padded = replace(model.text, pad_to_multiple_of=config.serving.pad_to_multiple_of)
        model = replace(model, text=padded)
    check_sound(model)
    return model


def _place(config: TensorConfig) -> Place:
    return Place(config.base_dir, config.samples)
