"""A small valid package: a Triton model that answers its input. Made in milliseconds, no torch."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Literal

from spillway.contracts.manifest import (
    AZURE_ML_DEPLOYMENT,
    AZURE_ML_REPOSITORY,
    MANIFEST_NAME,
    SAGEMAKER_ARCHIVE,
    TRITON_ARCHIVE,
    TRITON_REPOSITORY,
    VLLM_CHECKSUMS,
    VLLM_FOLDER,
    LanguageFigure,
    LanguageServing,
    Manifest,
    PackageSource,
    ParityFigure,
    Serving,
    TensorSpec,
    VariantFigure,
    describe_files,
    sha256_of_file,
)
from spillway.contracts.targets import Layout

_CONFIG = """name: "echo"
backend: "python"
max_batch_size: 8
input [{ name: "TEXT", data_type: TYPE_STRING, dims: [1] }]
output [{ name: "ECHO", data_type: TYPE_STRING, dims: [1] }]
"""
_MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        texts = [pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("ECHO", text)]) for text in texts]
"""
# It answers with what it was asked: there is nothing to be off by.
_EXACT = ParityFigure(
    variant="echo",
    samples=1,
    min_cosine=1.0,
    mean_cosine=1.0,
    max_abs=0.0,
    max_relative=0.0,
    bound_min_cosine=0.99,
    passed=True,
)


_LANGUAGE = LanguageServing(
    max_model_len=512,
    max_num_seqs=4,
    tensor_parallel_size=1,
    dtype="bfloat16",
    quantization="none",
    scheme="none",
    tokenizer="PreTrainedTokenizerFast",
    vocabulary=100,
    chat_template=True,
)
_SAME_TEXT = LanguageFigure(
    variant="echo",
    perplexity=20.0,
    perplexity_ratio=1.0,
    tokens=512,
    text_sha256="0" * 64,
    top1=1.0,
    min_cosine=1.0,
    mean_cosine=1.0,
    greedy_match=1.0,
    greedy_tokens=8,
    prefill_ms=1.0,
    token_ms=1.0,
    token_p99_ms=1.0,
)
LAYOUTS = (Layout.TRITON, Layout.SAGEMAKER, Layout.AZURE_ML)

SLOTS = 4
"""Requests at once of one server of the small package."""


def small_package(
    folder: Path, kind: Literal["triton", "vllm"] = "triton", layouts: tuple[Layout, ...] = LAYOUTS, slots: int = SLOTS
) -> Path:
    """Write the package into ``folder``, sealed, and return it. ``layouts``: of a Triton package. With other ``slots``
    it is another version."""
    if kind == "vllm":
        _write_language_model(folder)
    else:
        _write_triton_layouts(folder, layouts)
    manifest = Manifest(
        name="echo",
        version="",
        digest="",
        kind=kind,
        entry_model="echo",
        served=dict.fromkeys((Layout.VLLM,) if kind == "vllm" else layouts, "echo"),
        files=describe_files(folder),
        inputs=(TensorSpec(name="TEXT", dtype="BYTES", shape=(-1, 1)),),
        outputs=(TensorSpec(name="ECHO", dtype="BYTES", shape=(-1, 1)),),
        source=PackageSource(name="echo", origin="tests/support/packages.py", licence="Apache-2.0"),
        serving=Serving(slots=slots, max_concurrency=3 * slots),
        language=_LANGUAGE.model_copy(update={"max_num_seqs": slots}) if kind == "vllm" else None,
        variants=(VariantFigure(name="echo", precision="none", rank=1),),
        parity=() if kind == "vllm" else (_EXACT,),
        language_figures=(_SAME_TEXT,) if kind == "vllm" else (),
    )
    _write(folder / MANIFEST_NAME, manifest.sealed().to_json())
    return folder


def _write_language_model(folder: Path) -> None:
    config = folder / VLLM_FOLDER / "config.json"
    _write(config, "{}")
    _write(folder / VLLM_CHECKSUMS, f"{sha256_of_file(config)}  config.json\n")


def _write_triton_layouts(folder: Path, layouts: tuple[Layout, ...]) -> None:
    for layout, repository in ((Layout.TRITON, TRITON_REPOSITORY), (Layout.AZURE_ML, AZURE_ML_REPOSITORY)):
        if layout in layouts:
            _write(folder / repository / "echo" / "config.pbtxt", _CONFIG)
            _write(folder / repository / "echo" / "1" / "model.py", _MODEL)
    if Layout.AZURE_ML in layouts:
        _write(folder / AZURE_ML_DEPLOYMENT, "model:\n  path: models\n  type: triton_model\n")
    archive = folder / (SAGEMAKER_ARCHIVE if Layout.SAGEMAKER in layouts else TRITON_ARCHIVE)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder / TRITON_REPOSITORY / "echo", arcname="echo")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
