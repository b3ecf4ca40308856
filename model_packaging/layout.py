"""One Triton repository, laid out for the three targets."""

from __future__ import annotations

import gzip
import importlib.metadata
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from model_packaging.config import ModelConfig
from model_packaging.sources import LoadedModel
from model_packaging.triton_config import (
    EnsembleStep,
    encoder_config,
    ensemble_config,
    to_pbtxt,
    tokenizer_config,
    with_response_cache,
)
from spillway.contracts.manifest import (
    AZURE_ML_DEPLOYMENT,
    AZURE_ML_REPOSITORY,
    SAGEMAKER_ARCHIVE,
    TRITON_REPOSITORY,
    PackageError,
    TensorSpec,
)

_TEMPLATES: Final = Path(__file__).parent / "templates"
_GZIP_LEVEL: Final = 1
"""Weights hardly shrink at any level; this one is fast."""


def write_triton_repository(
    root: Path,
    config: ModelConfig,
    model: LoadedModel,
    onnx_file: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write the repository to ``<root>/triton`` and return the signature of the model that clients call.

    A text model becomes an ensemble ``<name>`` of ``<name>_tokenizer`` and ``<name>_encoder``; any other is ``<name>``.
    """
    repository = root / TRITON_REPOSITORY
    if model.text is None:
        encoder = encoder_config(
            config.name,
            inputs,
            outputs,
            config.serving,
            batched=model.batched,
            warm_up={name: tuple(tensor.shape) for name, tensor in model.samples[0].items()},
        )
        if config.serving.response_cache:
            encoder = with_response_cache(encoder)
        _write_model(repository, encoder, {"model.onnx": onnx_file})
        return inputs, outputs

    tokenizer_name, encoder_name = f"{config.name}_tokenizer", f"{config.name}_encoder"
    _write_model(repository, encoder_config(encoder_name, inputs, outputs, config.serving), {"model.onnx": onnx_file})
    tokenizer = tokenizer_config(tokenizer_name, model.text.max_length, config.serving)
    files = {"model.py": _TEMPLATES / "tokenizer_model.py", "tokenizer.json": model.text.tokenizer_json}
    _write_model(repository, tokenizer, files | _vendored("tokenizers"))

    text_input = (TensorSpec(name="TEXT", dtype="BYTES", shape=(-1, 1)),)
    steps = (
        EnsembleStep(tokenizer_name, {"TEXT": "TEXT"}, {spec.name: spec.name for spec in inputs}),
        EnsembleStep(
            encoder_name, {spec.name: spec.name for spec in inputs}, {spec.name: spec.name for spec in outputs}
        ),
    )
    ensemble = ensemble_config(config.name, text_input, outputs, steps, config.serving)
    if config.serving.response_cache:
        ensemble = with_response_cache(ensemble)
    _write_model(repository, ensemble, {})
    return text_input, outputs


def write_sagemaker_archive(root: Path) -> None:
    """``sagemaker/model.tar.gz``: model folders at the root, as the SageMaker Triton container unpacks them."""
    archive = root / SAGEMAKER_ARCHIVE
    archive.parent.mkdir(parents=True, exist_ok=True)
    write_archive(root / TRITON_REPOSITORY, archive)


def write_azure_ml(root: Path, config: ModelConfig) -> None:
    """``azureml/``: the repository and the deployment's description (Azure ML CLI v2 schema)."""
    repository = root / AZURE_ML_REPOSITORY
    repository.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(root / TRITON_REPOSITORY, repository)
    serving = config.serving
    description: dict[str, Any] = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json",
        "name": "blue",
        "endpoint_name": config.name.replace("_", "-"),
        "model": {"name": config.name, "path": "./models", "type": "triton_model"},
        "instance_type": config.azure_ml.instance_type,
        "instance_count": config.azure_ml.instance_count,
        "request_settings": {
            # Azure ML's own default of one request an instance would make batching impossible.
            "max_concurrent_requests_per_instance": serving.max_concurrency,
            "request_timeout_ms": round(serving.request_timeout_s * 1000),
        },
    }
    (root / AZURE_ML_DEPLOYMENT).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")


def write_archive(folder: Path, archive: Path) -> None:
    """A gzipped tar of the folder's content; equal content gives equal bytes: no times, owners or local paths."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with (
        archive.open("wb") as stream,
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=_GZIP_LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=path.relative_to(folder).as_posix(), recursive=False, filter=plain)


def _write_model(repository: Path, config: dict[str, Any], files: dict[str, Path]) -> None:
    """One model folder: its configuration, and version 1 with these files."""
    version = repository / config["name"] / "1"
    version.mkdir(parents=True)
    for name, source in files.items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, version / name)
    if not files:
        # Triton wants a version folder even for an ensemble, and archives and stores drop empty folders.
        (version / ".keep").touch()
    (repository / config["name"] / "config.pbtxt").write_text(to_pbtxt(config), encoding="utf-8")


def _vendored(distribution: str) -> dict[str, Path]:
    """``vendor/…`` → file, for every file of an installed package. Its extension must fit every Python 3 (abi3)."""
    package = importlib.metadata.distribution(distribution)
    files = {
        f"vendor/{PurePosixPath(path)}": Path(str(path.locate()))
        for path in package.files or ()
        if path.parts[0] == distribution and "__pycache__" not in path.parts
    }
    extensions = [name for name in files if name.endswith(".so")]
    if not extensions or not all(name.endswith(".abi3.so") for name in extensions):
        raise PackageError(
            f"The installed {distribution} has no abi3 extension, so it would load in one version of Python only: "
            "install its wheel from PyPI."
        )
    return files
