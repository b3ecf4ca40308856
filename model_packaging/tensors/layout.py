"""The layouts of a package: what each kind of container reads, with the variant that it serves."""

from __future__ import annotations

import copy
import gzip
import importlib.metadata
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from model_packaging.pbtxt import CONFIG_NAME, ModelConfig, to_pbtxt
from model_packaging.sources import LoadedModel
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.signature import Signature, client_signature
from model_packaging.tensors.triton_config import (
    EnsembleStep,
    Shape,
    ensemble_config,
    model_config,
    tokenizer_config,
)
from spillway.contracts.manifest import (
    AZURE_ML_DEPLOYMENT,
    AZURE_ML_REPOSITORY,
    ONNX_RUNTIME_FOLDER,
    SAGEMAKER_ARCHIVE,
    TRITON_ARCHIVE,
    TRITON_REPOSITORY,
    PackageError,
    TensorSpec,
)
from spillway.contracts.names import MODEL_VERSION
from spillway.contracts.targets import Layout

_LABELS: Final = "labels.txt"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_GZIP_LEVEL: Final = 1
"""Weights hardly shrink at any level; this one is fast."""

_AZURE_ML_CPU_IMAGE: Final = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
"""A base image that Azure ML publishes; any other with conda will do."""


def write_layouts(
    root: Path, config: TensorConfig, model: LoadedModel, onnx_files: Mapping[Layout, Path], network: Signature
) -> None:
    """Write every layout of ``onnx_files`` below ``root``, each with its own file. ``network``: their signature."""
    for layout, onnx_file in onnx_files.items():
        match layout:
            case Layout.TRITON:
                write_repository(root / TRITON_REPOSITORY, config, model, onnx_file, network)
            case Layout.SAGEMAKER:
                write_sagemaker_archive(root, config, model, onnx_file, network)
            case Layout.AZURE_ML:
                write_repository(root / AZURE_ML_REPOSITORY, config, model, onnx_file, network)
                write_azure_ml_deployment(root, config)
            case Layout.ONNX_RUNTIME:
                write_onnx_runtime(root, config, model, onnx_file, client_signature(model, network))
            case Layout.VLLM:
                raise AssertionError("language models are laid out by model_packaging.language")
    if Layout.TRITON in onnx_files and onnx_files[Layout.TRITON] != onnx_files.get(Layout.SAGEMAKER):
        write_archive(root / TRITON_REPOSITORY, root / TRITON_ARCHIVE)


def write_repository(
    repository: Path, config: TensorConfig, model: LoadedModel, onnx_file: Path, network: Signature
) -> None:
    """A Triton model repository. A text model becomes an ensemble ``<name>`` of ``<name>_tokenizer`` and
    ``<name>_encoder``; any other is ``<name>``."""
    inputs, outputs = network.inputs, network.outputs
    if model.text is None:
        encoder = model_config(
            config.name,
            "onnxruntime",
            inputs,
            outputs,
            config.serving,
            batched=model.batched,
            warm_up={name: tuple(tensor.shape) for name, tensor in model.samples[0].items()},
            ranges=_ranges(model, inputs, config.serving.max_batch_size),
        )
        if config.serving.response_cache:
            encoder.response_cache.enable = True
        write_model(repository, encoder, {"model.onnx": onnx_file}, model.labels)
        return

    tokenizer_name, encoder_name = f"{config.name}_tokenizer", f"{config.name}_encoder"
    ranges = _ranges(model, inputs, config.serving.max_batch_size)
    encoder = model_config(encoder_name, "onnxruntime", inputs, outputs, config.serving, ranges=ranges)
    write_model(repository, encoder, {"model.onnx": onnx_file})
    tokenizer = tokenizer_config(tokenizer_name, model.text, config.serving)
    files = {"model.py": _TEMPLATES / "tokenizer_model.py", "tokenizer.json": model.text.tokenizer_json}
    write_model(repository, tokenizer, files | _vendored("tokenizers"))

    client = client_signature(model, network)
    steps = (
        EnsembleStep(tokenizer_name, {"TEXT": "TEXT"}, {spec.name: spec.name for spec in inputs}),
        EnsembleStep(
            encoder_name, {spec.name: spec.name for spec in inputs}, {spec.name: spec.name for spec in outputs}
        ),
    )
    ensemble = ensemble_config(config.name, client.inputs, client.outputs, steps, config.serving)
    if config.serving.response_cache:
        ensemble.response_cache.enable = True
    write_model(repository, ensemble, {}, model.labels)


def _ranges(model: LoadedModel, inputs: Sequence[TensorSpec], max_batch: int) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Input → least, usual and most sizes: of texts up to their limit, of other free axes as the samples have them."""

    def sizes(spec: TensorSpec, axis: int) -> tuple[int, int, int]:
        size = spec.shape[axis]
        if size > 0:
            return size, size, size
        if axis == 0 and model.batched:
            return 1, max(1, max_batch // 4), max_batch
        if model.text is not None:
            return 1, max(1, model.text.longest // 2), model.text.longest
        seen = sorted(sample[spec.name].shape[axis] for sample in model.samples)
        return seen[0], seen[len(seen) // 2], seen[-1]

    found = {}
    for spec in inputs:
        axes = [sizes(spec, axis) for axis in range(len(spec.shape))]
        found[spec.name] = tuple(tuple(axis[which] for axis in axes) for which in range(3))
    return found


def write_sagemaker_archive(
    root: Path, config: TensorConfig, model: LoadedModel, onnx_file: Path, network: Signature
) -> None:
    """``sagemaker/model.tar.gz``: model folders at the root, as the SageMaker Triton container unpacks them."""
    archive = root / SAGEMAKER_ARCHIVE
    archive.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="sagemaker-", dir=root.parent) as scratch:
        write_repository(Path(scratch), config, model, onnx_file, network)
        write_archive(Path(scratch), archive)


def write_azure_ml_deployment(root: Path, config: TensorConfig) -> None:
    """``azureml/deployment.yaml``: the deployment's description (Azure ML CLI v2 schema)."""
    description = _deployment(config) | {
        "model": {"name": config.name, "path": "./models", "type": "triton_model"},
        "instance_type": config.azure_ml.instance_type,
    }
    (root / AZURE_ML_DEPLOYMENT).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")


def _deployment(config: TensorConfig) -> dict[str, Any]:
    """What both deployment descriptions say."""
    serving = config.serving
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json",
        "name": "blue",
        "endpoint_name": config.name.replace("_", "-"),
        "instance_count": config.azure_ml.instance_count,
        "request_settings": {
            # Azure ML's own default of one request an instance would make batching impossible.
            "max_concurrent_requests_per_instance": serving.max_concurrency,
            "request_timeout_ms": round(serving.request_timeout_s * 1000),
        },
    }


def write_onnx_runtime(
    root: Path,
    config: TensorConfig,
    model: LoadedModel,
    onnx_file: Path,
    client: Signature,
) -> None:
    """``onnxruntime/``: the model with a handler that speaks SageMaker's and Azure ML's conventions, for CPU endpoints.

    ``client``: the signature that clients see. Requests and answers are Triton's (KServe v2, JSON), so
    that the gateway sends the same body to either. Of Triton's queue it has nothing: no batching across requests and
    no priorities; the gateway's limit per site bounds it.
    """
    folder = root / ONNX_RUNTIME_FOLDER
    folder.mkdir(parents=True)
    shutil.copyfile(onnx_file, folder / "model.onnx")
    shutil.copyfile(_TEMPLATES / "score.py", folder / "score.py")
    packages = ["numpy", "onnxruntime", *(["tokenizers"] if model.text is not None else [])]
    text = None
    if model.text is not None:
        text = {key: getattr(model.text, key) for key in ("max_length", "pad_to_multiple_of", "pad_id")}
        shutil.copyfile(model.text.tokenizer_json, folder / "tokenizer.json")
    service = {
        "name": config.name,
        "inputs": [_service_tensor(spec) for spec in client.inputs],
        "outputs": [_service_tensor(spec) for spec in client.outputs],
        "max_batch_size": config.serving.max_batch_size if model.batched else 0,
        "threads": config.serving.intra_op_threads,
        "text": text,
        "labels": list(model.labels),
    }
    (folder / "service.json").write_text(json.dumps(service, indent=2) + "\n", encoding="utf-8")
    requirements = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    environment = {
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={sys.version_info.major}.{sys.version_info.minor}",
            "pip",
            {"pip": [*requirements, "azureml-inference-server-http>=1.5"]},
        ],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
    description = _deployment(config) | {
        "model": {"name": f"{config.name}-onnxruntime", "path": ".", "type": "custom_model"},
        "code_configuration": {"code": ".", "scoring_script": "score.py"},
        "environment": {"conda_file": "conda.yaml", "image": _AZURE_ML_CPU_IMAGE},
        "instance_type": config.azure_ml.cpu_instance_type,
    }
    (folder / "deployment.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")


def _service_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype, "shape": list(spec.shape)}


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


def write_model(repository: Path, config: ModelConfig, files: dict[str, Path], labels: tuple[str, ...] = ()) -> None:
    """One model folder: its configuration, and version 1 with these files.

    ``labels``: names of the classes of its one output; a client that asks for ``classification`` gets them.
    """
    folder = repository / config.name
    version = folder / MODEL_VERSION
    version.mkdir(parents=True)
    for name, source in files.items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, version / name)
    if not files:
        # Triton wants a version folder even for an ensemble, and archives and stores drop empty folders.
        (version / ".keep").touch()
    if labels:
        (folder / _LABELS).write_text("\n".join(labels) + "\n", encoding="utf-8")
        config = copy.deepcopy(config)
        for output in config.output:
            output.label_filename = _LABELS
    (folder / CONFIG_NAME).write_text(to_pbtxt(config), encoding="utf-8")


def read_labels(folder: Path) -> tuple[str, ...]:
    """The names of the classes that :func:`write_model` wrote for this model; empty where there are none."""
    path = folder / _LABELS
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()


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
