"""Where a model comes from: one module per kind of source, each with the settings of its ``source:`` key.

Each kind has ``files(place)``, what the build reads, and ``load(place)``, which makes the one
:class:`LoadedModel` that the rest of the packager works on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_packaging.sources.exported_program import ExportedProgramSource
from model_packaging.sources.huggingface import HuggingFaceSource
from model_packaging.sources.minilm import BundledMiniLmSource
from model_packaging.sources.model import Batch, LoadedModel, Place, TextCodec, files_sha256
from model_packaging.sources.onnx_file import OnnxSource
from model_packaging.sources.python_entry import Entry, PythonSource
from model_packaging.sources.sound import check_sound
from model_packaging.sources.torchscript import TorchScriptSource

if TYPE_CHECKING:
    from model_packaging.config import ModelConfig

__all__ = [
    "Batch",
    "BundledMiniLmSource",
    "Entry",
    "ExportedProgramSource",
    "HuggingFaceSource",
    "LoadedModel",
    "OnnxSource",
    "PythonSource",
    "Source",
    "TextCodec",
    "TorchScriptSource",
    "files_sha256",
    "load",
    "source_files",
]

Source = Annotated[
    HuggingFaceSource | BundledMiniLmSource | PythonSource | ExportedProgramSource | TorchScriptSource | OnnxSource,
    Field(discriminator="kind"),
]


def source_files(config: ModelConfig) -> dict[str, Path]:
    """Name → path of every file that the build reads; they are hashed to know whether a build is needed.

    Raises :class:`PackageError` or :class:`ModelConfigError` when one is missing. Imports neither torch nor the model.
    """
    return config.source.files(_place(config))


def load(config: ModelConfig) -> LoadedModel:
    """Load the model and run it once on a sample.

    Raises :class:`PackageError` when its files are missing, unsafe or damaged, and when it does not take its samples.
    """
    model = config.source.load(_place(config))
    if model.text is not None:
        padded = replace(model.text, pad_to_multiple_of=config.serving.pad_to_multiple_of)
        model = replace(model, text=padded)
    check_sound(model)
    return model


def _place(config: ModelConfig) -> Place:
    return Place(config.base_dir, config.samples)
