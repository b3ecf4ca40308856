"""The packager of models that take tensors, or a text, and answer with tensors."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from model_packaging.packager import Progress
from model_packaging.tensorrt.samples import SAMPLES_NAME, save_samples
from model_packaging.tensors import layout, source, table
from model_packaging.tensors.assess import Assessment, Candidate, assess
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.signature import client_signature, common_signature
from spillway.contracts.manifest import SERVING_FILE, VARIANTS, Manifest, Serving
from spillway.contracts.targets import Layout

_TOOLS: Final = (
    "torch",
    "transformers",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "tokenizers",
    "safetensors",
    "numpy",
    "torchao",
)


class TensorPackager:
    """Models for Triton and ONNX Runtime."""

    settings = TensorConfig
    source_files = staticmethod(source.source_files)
    rows = staticmethod(table.rows)
    columns = staticmethod(table.columns)

    def tools(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in _TOOLS}

    def assess(self, config: TensorConfig, work: Path, progress: Progress) -> Assessment:
        progress("loading the model")
        return assess(config, source.load(config), work, progress)

    def lay_out(self, config: TensorConfig, assessed: Assessment, folder: Path, progress: Progress) -> Manifest:
        served = assessed.served(config.serve_by_layout())
        told = ", ".join(f"{target}: {candidate.name}" for target, candidate in served.items())
        progress(f"laying out {told}")
        model, serving = assessed.model, config.serving
        network = common_signature({candidate.name: candidate.path for candidate in served.values()})
        onnx_files = {target: candidate.path for target, candidate in served.items()}
        layout.write_layouts(folder, config, model, onnx_files, network)
        _write_for_engines(folder / VARIANTS, config, assessed, served)
        (folder / SERVING_FILE).write_text(serving.model_dump_json(indent=2) + "\n", encoding="utf-8")
        client = client_signature(model, network)
        return Manifest(
            name=config.name,
            version="",
            digest="",
            kind="triton",
            entry_model=config.name,
            served={target: candidate.name for target, candidate in served.items()},
            files=(),
            inputs=client.inputs,
            outputs=client.outputs,
            source=model.source.model_copy(update={"reference": model.reference}),
            containers=config.targets,
            variants=assessed.figures(),
            parity=assessed.parity(),
            latency=assessed.latency,
            serving=Serving(
                max_batch_size=serving.max_batch_size if model.batched else 1,
                max_concurrency=serving.max_concurrency,
                request_timeout_s=serving.request_timeout_s,
                slots=serving.slots,
            ),
        )


def _write_for_engines(
    folder: Path, config: TensorConfig, assessed: Assessment, served: Mapping[Layout, Candidate]
) -> None:
    """Engines are compiled later and elsewhere, from the variants that are kept, and checked on the same samples."""
    for candidate in assessed.ranked:
        if candidate in served.values() or candidate.name in config.keep:
            place = folder / candidate.name
            place.mkdir(parents=True)
            shutil.copyfile(candidate.path, place / f"model{candidate.path.suffix}")
    samples = [{name: tensor.numpy() for name, tensor in sample.items()} for sample in assessed.model.samples]
    save_samples(samples, folder / SAMPLES_NAME)


TENSORS: Final = TensorPackager()
