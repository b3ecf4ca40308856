"""The packager of causal language models."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Final

from model_packaging.language import layout, serving, source, table
from model_packaging.language.assess import Assessment, assess
from model_packaging.language.config import LanguageConfig
from model_packaging.packager import Progress
from spillway.contracts.manifest import VLLM_FOLDER, Manifest, Serving
from spillway.contracts.targets import Layout

_TOOLS: Final = ("torch", "transformers", "compressed-tensors", "tokenizers", "safetensors", "gguf")


class LanguagePackager:
    """Models for vLLM."""

    settings = LanguageConfig
    source_files = staticmethod(source.source_files)
    rows = staticmethod(table.rows)
    columns = staticmethod(table.columns)

    def tools(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in _TOOLS}

    def assess(self, config: LanguageConfig, work: Path, progress: Progress) -> Assessment:
        progress("reading the model")
        model = source.load(config, work)
        serving.check(config, model)
        return assess(config, model, work, progress)

    def lay_out(self, config: LanguageConfig, assessed: Assessment, folder: Path, progress: Progress) -> Manifest:
        served = assessed.served(config.serve)
        progress(f"laying out {served.name} for vLLM, SageMaker, Azure ML and Triton")
        layout.place_model(config, assessed.model, served, folder / VLLM_FOLDER)
        serving.place_files(config, folder / VLLM_FOLDER)
        language = serving.language_serving(config, assessed.model, served)
        layout.write_layouts(folder, config, language)
        return Manifest(
            name=config.name,
            version="",
            digest="",
            kind="vllm",
            entry_model=config.name,
            served={Layout.VLLM: served.name},
            files=(),
            inputs=(),
            outputs=(),
            source=assessed.model.source,
            variants=assessed.figures(),
            serving=Serving(
                max_batch_size=config.vllm.max_num_seqs,
                max_concurrency=config.vllm.max_concurrency,
                request_timeout_s=config.vllm.request_timeout_s,
                slots=config.vllm.slots,
            ),
            language=language,
            language_figures=assessed.checked,
        )


LANGUAGE: Final = LanguagePackager()
