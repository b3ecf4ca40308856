"""A TensorRT-RTX engine as a Triton model of its own.

Triton's TensorRT backend does not take TensorRT-RTX engines, so the model runs in the Python backend.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from model_packaging.config import ServingConfig
from model_packaging.triton_config import encoder_config, to_pbtxt
from spillway.contracts.engines import PLAN_NAME, RECORD_NAME, Compiler, verify_engine
from spillway.contracts.manifest import PackageError, TensorSpec

_TEMPLATE: Final = Path(__file__).parents[1] / "templates" / "tensorrt_rtx_model.py"
_TYPES: Final = {"float32": "FP32", "float16": "FP16", "int64": "INT64", "int32": "INT32", "int8": "INT8"}


def write_rtx_model(engine: Path, repository: Path, name: str, serving: ServingConfig) -> Path:
    """Write the engine in folder ``engine`` as model ``name`` into a Triton repository, and return the model's folder.

    The batch is bounded by the engine's profiles. Raises :class:`PackageError` for an engine that is not sound or not
    TensorRT-RTX's, and where the model is there already.
    """
    record = verify_engine(engine)
    if record.key.compiler is not Compiler.TENSORRT_RTX:
        raise PackageError(f"{engine}: is a TensorRT engine; Triton's TensorRT backend serves it as model.plan.")
    folder = repository / name
    if folder.exists():
        raise PackageError(f"{folder}: is there already; choose another name or remove it.")
    largest = max(shape[2][0] for profile in record.profiles for shape in profile.shapes.values())
    bounded = serving.model_copy(
        update={"max_batch_size": min(largest, serving.max_batch_size), "instance_kind": "gpu"}
    )
    specs = {
        mode: [
            TensorSpec(name=tensor.name, dtype=_TYPES[tensor.dtype], shape=tensor.shape)
            for tensor in record.tensors
            if tensor.mode == mode
        ]
        for mode in ("input", "output")
    }
    config: dict[str, Any] = {**encoder_config(name, specs["input"], specs["output"], bounded), "backend": "python"}
    config.pop("optimization", None)
    config.pop("parameters", None)
    version = folder / "1"
    version.mkdir(parents=True)
    for file in (PLAN_NAME, RECORD_NAME):
        shutil.copyfile(engine / file, version / file)
    shutil.copyfile(_TEMPLATE, version / "model.py")
    (folder / "config.pbtxt").write_text(to_pbtxt(config), encoding="utf-8")
    return folder
