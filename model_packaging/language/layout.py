"""What servers read, beside the Hugging Face files: arguments of vLLM, of SageMaker's LMI, Azure ML and Triton.

``vllm/`` is whole: the private site mounts it, SageMaker reads it as an uncompressed prefix, Azure ML registers it. The
other folders hold descriptions only, so that weights are stored once.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from model_packaging.language import shape
from model_packaging.language.assess import Candidate
from model_packaging.language.checkpoint import COPIED
from model_packaging.language.config import LanguageConfig
from model_packaging.language.source import LanguageModel
from model_packaging.language.weights import INDEX
from model_packaging.pbtxt import CONFIG_NAME, message, to_pbtxt
from spillway.contracts import vllm_options
from spillway.contracts.manifest import (
    AZURE_ML_DEPLOYMENT,
    VLLM_ARGUMENTS,
    VLLM_CHECKSUMS,
    VLLM_FOLDER,
    LanguageServing,
    sha256_of_file,
)

TRITON_FOLDER: Final = "triton_vllm"
"""Model repository for Triton's vLLM backend (the ``-vllm-python-py3`` image)."""
TRITON_WEIGHTS: Final = "/opt/spillway/vllm"
"""Where that repository expects ``vllm/`` to be mounted: the backend hands the path to vLLM as it is."""
_PORT: Final = 8000
_BESIDE: Final = (INDEX, "hf_quant_config.json", "quantize_config.json", "quant_config.json")
"""What belongs to weights that came as they are: which file holds which, and what older formats say of themselves."""


def write_layouts(root: Path, config: LanguageConfig, serving: LanguageServing) -> None:
    """Complete ``<root>/vllm`` and write ``azureml/`` and ``triton_vllm/`` beside it."""
    _write_vllm_arguments(root, serving)
    _write_lmi_properties(root, serving)
    _write_checksums(root)
    _write_azure_ml(root, config)
    _write_triton(root, config, serving)


def place_model(config: LanguageConfig, model: LanguageModel, served: Candidate, folder: Path) -> None:
    """The served variant as ``folder``: moved if it was made here, else copied without what no server reads."""
    if served.folder != model.folder:
        served.folder.rename(folder)
    else:
        folder.mkdir()
        for path in (*model.weights.files(), *(model.folder / name for name in (*COPIED, *_BESIDE))):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        _write(folder / "config.json", _to_json(model.settings))
    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings = shape.with_router(settings, model.weights.tensors)
    _write(path, _to_json(shape.with_positions(settings, config.vllm.max_model_len)))


def _to_json(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def _write_vllm_arguments(root: Path, serving: LanguageServing) -> None:
    """``vllm serve . --config vllm.yaml`` in the folder: long options without their dashes."""
    options = vllm_options.resolved(serving.arguments, ".")
    # Each item of a list is a word; vLLM would write objects as Python does.
    plain = {
        name: [item if isinstance(item, str) else json.dumps(item) for item in value]
        if isinstance(value, list)
        else value
        for name, value in options.items()
    }
    _write(root / VLLM_ARGUMENTS, yaml.safe_dump(plain, sort_keys=False))


def _write_lmi_properties(root: Path, serving: LanguageServing) -> None:
    """SageMaker's LMI container finds this file beside the weights (djl-serving, docs/lmi/user_guides/vllm_user_guide).

    LMI names two arguments differently and passes any other ``option.*`` on to vLLM; ``option.quantize`` is left out,
    as that guide asks for weights that are quantized already.
    """
    names = {"tensor-parallel-size": "tensor_parallel_degree", "max-num-seqs": "max_rolling_batch_size"}
    options = {
        names.get(name, name.replace("-", "_")): value if isinstance(value, str) else json.dumps(value)
        for name, value in vllm_options.resolved(serving.arguments, "/opt/ml/model").items()
    }
    lines = [
        "engine=Python",
        "option.model_id=/opt/ml/model",
        "option.async_mode=true",
        "option.rolling_batch=disable",
        "option.entryPoint=djl_python.lmi_vllm.vllm_async_service",
        *(f"option.{name}={value}" for name, value in options.items()),
    ]
    _write(root / VLLM_FOLDER / "serving.properties", "\n".join(lines) + "\n")


def _write_checksums(root: Path) -> None:
    folder, listing = root / VLLM_FOLDER, root / VLLM_CHECKSUMS
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != listing)
    _write(listing, "".join(f"{sha256_of_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files))


def _write_azure_ml(root: Path, config: LanguageConfig) -> None:
    """A container of one's own (Azure ML CLI v2, managedOnlineDeployment); its schema has no command: a Dockerfile."""
    vllm = config.vllm
    health = {"port": _PORT, "path": "/health"}
    description: dict[str, Any] = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json",
        "name": "blue",
        "endpoint_name": config.name.replace("_", "-"),
        "model": {"name": config.name, "path": f"../{VLLM_FOLDER}", "type": "custom_model"},
        "environment": {
            "name": f"{config.name}-vllm",
            "build": {"path": "environment", "dockerfile_path": "Dockerfile"},
            "inference_config": {
                "liveness_route": health,
                "readiness_route": health,
                "scoring_route": {"port": _PORT, "path": "/v1/chat/completions"},
            },
        },
        "environment_variables": {"HF_HUB_OFFLINE": "1"},
        "instance_type": vllm.azure_instance_type,
        "instance_count": vllm.azure_instance_count,
        "request_settings": {
            "max_concurrent_requests_per_instance": vllm.max_concurrency,
            "request_timeout_ms": round(vllm.request_timeout_s * 1000),
        },
    }
    _write(root / AZURE_ML_DEPLOYMENT, yaml.safe_dump(description, sort_keys=False))
    folder = f"$AZUREML_MODEL_DIR/{VLLM_FOLDER}"
    serve = f'cd "{folder}" && exec vllm serve . --config {Path(VLLM_ARGUMENTS).name} --port {_PORT}'
    entry = json.dumps(["/bin/sh", "-c", serve])
    why = "# Azure ML mounts the model and names the place in AZUREML_MODEL_DIR."
    dockerfile = root / Path(AZURE_ML_DEPLOYMENT).parent / "environment" / "Dockerfile"
    _write(dockerfile, f"{why}\nFROM {vllm.image}\nENTRYPOINT {entry}\n")


def _write_triton(root: Path, config: LanguageConfig, serving: LanguageServing) -> None:
    """As in the backend's samples: model.json goes to vLLM's AsyncEngineArgs word by word."""
    folder = root / TRITON_FOLDER / config.name
    arguments = {"model": TRITON_WEIGHTS, **vllm_options.engine_arguments(serving.arguments, TRITON_WEIGHTS)}
    # Triton bounds its own queue, and the vLLM of its images is older than these options.
    for option in ("max_num_queued_reqs", "max_num_queued_tokens"):
        arguments.pop(option, None)
    _write(folder / "1" / "model.json", json.dumps(arguments, indent=2) + "\n")
    # vLLM places itself on the GPUs.
    group = {"count": 1, "kind": "KIND_MODEL"}
    _write(folder / CONFIG_NAME, to_pbtxt(message({"name": config.name, "backend": "vllm", "instance_group": [group]})))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
