"""Where a model comes from: one module per kind of source, each with the settings of its ``source:`` key.

Each kind has ``files(place)``, what the build reads, and ``load(place)``, which makes the one
:class:`LoadedModel` that the rest of the packager works on.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_packaging.sources.exported_program import ExportedProgramSource
from model_packaging.sources.huggingface import HuggingFaceSource
from model_packaging.sources.minilm import BundledMiniLmSource
from model_packaging.sources.model import Batch, LoadedModel, TextCodec, files_sha256
from model_packaging.sources.onnx_file import OnnxSource
from model_packaging.sources.python_entry import Entry, PythonSource
from model_packaging.sources.torchscript import TorchScriptSource

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
]

Source = Annotated[
    HuggingFaceSource | BundledMiniLmSource | PythonSource | ExportedProgramSource | TorchScriptSource | OnnxSource,
    Field(discriminator="kind"),
]
