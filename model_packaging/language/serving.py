"""How vLLM serves the package: one map of arguments for all sites, and the files that they speak of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from model_packaging.language import quantized, shape
from model_packaging.language.assess import Candidate
from model_packaging.language.config import Adapter, LanguageConfig, Speculation
from model_packaging.language.source import LanguageModel
from model_packaging.language.weights import Weights, open_weights
from spillway.contracts import vllm_options
from spillway.contracts.manifest import LanguageServing, PackageError

CHAT_TEMPLATE: Final = "chat_template.jinja"
"""Where transformers and vLLM look for it."""
_ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
_RANKS: Final = tuple(int(rank) for rank in vllm_options.table()["options"]["max-lora-rank"]["choices"])
_PEFT: Final = "base_model.model."


def language_serving(config: LanguageConfig, model: LanguageModel, served: Candidate) -> LanguageServing:
    """What the manifest says of it."""
    vllm = config.vllm
    kv_bytes, shards = shape.kv_cache(model.settings, vllm.kv_cache_dtype)
    return LanguageServing(
        max_model_len=vllm.max_model_len,
        max_num_seqs=vllm.max_num_seqs,
        tensor_parallel_size=vllm.tensor_parallel_size,
        pipeline_parallel_size=vllm.pipeline_parallel_size,
        data_parallel_size=vllm.data_parallel_size,
        dtype=served.dtype,  # pyright: ignore[reportArgumentType]
        quantization=served.method,
        scheme=served.summary,
        tokenizer=type(model.tokenizer).__name__,
        vocabulary=len(model.tokenizer),
        chat_template=bool(model.tokenizer.chat_template or vllm.chat_template),
        engine=vllm_options.engine_version(),
        arguments=_arguments(config, served.dtype),
        gpu_memory_utilization=vllm.gpu_memory_utilization,
        weights_bytes=served.size_bytes,
        kv_bytes_per_token=kv_bytes,
        kv_shards=shards,
    )


def _arguments(config: LanguageConfig, dtype: str) -> dict[str, Any]:
    """Options of ``vllm serve``. The quantization is not among them: vLLM takes it from config.json."""
    vllm = config.vllm
    found: dict[str, Any] = {
        "served-model-name": config.name,
        "dtype": dtype,
        "max-model-len": vllm.max_model_len,
        "max-num-seqs": vllm.max_num_seqs,
        "tensor-parallel-size": vllm.tensor_parallel_size,
        "gpu-memory-utilization": vllm.gpu_memory_utilization,
        # Without it vLLM ignores the priority that each request brings.
        "scheduling-policy": "priority",
        # Waiting and running: the next is answered 503 at once, before a stream begins.
        "max-num-queued-reqs": vllm.max_concurrency,
    }
    if vllm.prefill:
        found["max-num-queued-tokens"] = max(1, round(vllm.prefill.tokens_per_s * vllm.prefill.within_s))
    if vllm.pipeline_parallel_size > 1:
        found["pipeline-parallel-size"] = vllm.pipeline_parallel_size
    if vllm.data_parallel_size > 1:
        found["data-parallel-size"] = vllm.data_parallel_size
    if vllm.expert_parallel:
        found["enable-expert-parallel"] = True
    if vllm.kv_cache_dtype != "auto":
        found["kv-cache-dtype"] = vllm.kv_cache_dtype
    if vllm.tool_parser:
        found |= {"enable-auto-tool-choice": True, "tool-call-parser": vllm.tool_parser}
    if vllm.reasoning_parser:
        found["reasoning-parser"] = vllm.reasoning_parser
    if vllm.speculative:
        found["speculative-config"] = _speculation(vllm.speculative)
    if vllm.adapters:
        found |= _adapters(config)
    return found | vllm.extra


def _speculation(speculative: Speculation) -> dict[str, Any]:
    draft = {"model": f"{vllm_options.FOLDER}/draft"} if speculative.path else {}
    return {"method": speculative.method, **draft, "num_speculative_tokens": speculative.tokens, **speculative.options}


def _adapters(config: LanguageConfig) -> dict[str, Any]:
    adapters = config.vllm.adapters
    rank = max(_adapter_config(config, adapter)["r"] for adapter in adapters)
    return {
        "enable-lora": True,
        "max-loras": len(adapters),
        "max-lora-rank": min(size for size in _RANKS if size >= rank),
        # One JSON list: SageMaker's container makes one word of a variable.
        "lora-modules": [
            {"name": adapter.name, "path": f"{vllm_options.FOLDER}/adapters/{adapter.name}"} for adapter in adapters
        ],
    }


def check(config: LanguageConfig, model: LanguageModel) -> None:
    """Whether what the arguments speak of fits the model. Raises :class:`PackageError`."""
    vllm = config.vllm
    if vllm.expert_parallel and not any(".experts." in name for name in model.weights.tensors):
        raise PackageError("vllm.expert_parallel: true; the model has no experts.")
    if vllm.speculative and vllm.speculative.method.endswith("mtp"):
        _check_predicting(model)
    if vllm.speculative and vllm.speculative.path:
        draft = config.resolve(vllm.speculative.path)
        settings = _json(draft / "config.json", "vllm.speculative.path")
        quantized.check(open_weights(draft), quantized.read_config(settings, draft))
    for adapter in vllm.adapters:
        _check_adapter(config, adapter, model.weights)


def _check_predicting(model: LanguageModel) -> None:
    first = model.settings.get("num_hidden_layers")
    if not any(name.startswith(f"model.layers.{first}.") for name in model.weights.tensors):
        raise PackageError("vllm.speculative.method: mtp; the checkpoint has no layers that predict further tokens.")


def _adapter_config(config: LanguageConfig, adapter: Adapter) -> dict[str, Any]:
    key = f"vllm.adapters: {adapter.name}"
    found = _json(config.resolve(adapter.path) / _ADAPTER_FILES[0], key)
    if found.get("peft_type") != "LORA" or not isinstance(found.get("r"), int):
        raise PackageError(f"{key}: {_ADAPTER_FILES[0]} is no LoRA's: peft_type {found.get('peft_type')!r}.")
    if found["r"] > _RANKS[-1]:
        raise PackageError(f"{key}: rank {found['r']}; vLLM takes up to {_RANKS[-1]}.")
    return found


def _check_adapter(config: LanguageConfig, adapter: Adapter, base: Weights) -> None:
    """Each of its matrices has to belong to a layer of this model, and to fit it."""
    _adapter_config(config, adapter)
    key = f"vllm.adapters: {adapter.name}"
    folder = config.resolve(adapter.path)
    if not (folder / _ADAPTER_FILES[1]).is_file():
        raise PackageError(f"{key}: {folder / _ADAPTER_FILES[1]}: no such file.")
    for name, tensor in open_weights(folder).tensors.items():
        layer, _, side = name.removeprefix(_PEFT).removesuffix(".weight").rpartition(".")
        if side not in ("lora_A", "lora_B"):
            continue
        matrix = base.tensors.get(f"{layer}.weight")
        packed = any(name.startswith(f"{layer}.") for name in base.tensors)
        if matrix is None and not packed:
            raise PackageError(f"{key}: {name}: the model has no layer {layer}: the adapter is another model's.")
        axis, own = (1, tensor.shape[-1]) if side == "lora_A" else (0, tensor.shape[0])
        if matrix is not None and len(matrix.shape) == 2 and matrix.shape[axis] != own:
            raise PackageError(f"{key}: {name} has {own} numbers where {layer} has {matrix.shape[axis]}.")


def place_files(config: LanguageConfig, folder: Path) -> None:
    """Copy what the arguments speak of below the model's folder."""
    vllm = config.vllm
    for adapter in vllm.adapters:
        for name in _ADAPTER_FILES:
            _copy(config.resolve(adapter.path) / name, folder / "adapters" / adapter.name / name)
    if vllm.speculative and vllm.speculative.path:
        draft = config.resolve(vllm.speculative.path)
        for path in sorted(draft.iterdir()):
            if path.suffix in (".safetensors", ".json"):
                _copy(path, folder / "draft" / path.name)
    if vllm.chat_template:
        _copy(config.resolve(vllm.chat_template), folder / CHAT_TEMPLATE)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _json(path: Path, key: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{key}: {path}: no such file.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PackageError(f"{key}: {path}: is not JSON: {error}") from None
