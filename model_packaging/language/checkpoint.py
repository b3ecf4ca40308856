"""Writes a variant as a Hugging Face folder: config.json, tokenizer and safetensors, the same bytes every time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.language.config import LanguageVariant
from model_packaging.language.schemes import Plan
from model_packaging.language.source import LanguageModel
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import torch

_COPIED: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
_SHARD: Final = "4GB"
_SMALLEST_SCALE: Final = 1e-7
"""The smallest that float16 still tells from 0."""
_DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16"}


def stored_dtype(variant: LanguageVariant, default: str) -> str:
    """The dtype of everything that the variant leaves unquantized."""
    return _DTYPES.get(variant.precision, default)


def write(
    model: LanguageModel, plan: Plan, dtype: str, folder: Path, rounded: dict[str, torch.Tensor] | None = None
) -> None:
    """Write the folder. ``rounded``: GPTQ's weights, by layer, already multiples of the model's :func:`scales`.

    Raises :class:`PackageError` when a weight does not fit ``dtype``.
    """
    import torch
    from huggingface_hub import save_torch_state_dict

    folder.mkdir(parents=True)
    target: torch.dtype = getattr(torch, dtype)
    tensors: dict[str, torch.Tensor] = {}
    quantized = set(plan.quantized)
    with torch.no_grad():
        for name, tensor in model.module.state_dict().items():
            layer, _, kind = name.rpartition(".")
            if model.tied and layer == "lm_head":
                continue
            if kind == "weight" and layer in quantized:
                weight = tensor if rounded is None else rounded[layer]
                packed = _compress(weight, scales(tensor, plan, dtype), plan)
                tensors |= {f"{layer}.{part}": value.contiguous() for part, value in packed.items()}
            else:
                tensors[name] = _cast(name, tensor, target).contiguous()
    save_torch_state_dict(tensors, folder, max_shard_size=_SHARD, metadata={"format": "pt"})
    _open_to_readers(folder)
    _write_settings(model, plan, dtype, folder)
    _write_tokenizer(model, folder)


def scales(weight: torch.Tensor, plan: Plan, dtype: str) -> torch.Tensor:
    """One scale per row or group, ``dtype`` [rows, groups]: the largest magnitude over the type's largest number.

    Whatever is rounded is rounded by the scale as it is stored, not by the one that was cast to it.
    """
    import torch
    from compressed_tensors.quantization.utils import calculate_qparams

    assert plan.scheme is not None
    assert plan.scheme.weights is not None
    size = plan.scheme.weights.group_size or weight.shape[1]
    grouped = weight.float().reshape(weight.shape[0], -1, size)
    found, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), plan.scheme.weights)
    # A group of zeros needs a scale too, and any will do.
    return found.clamp(min=_SMALLEST_SCALE).to(getattr(torch, dtype))


def _compress(weight: torch.Tensor, scale: torch.Tensor, plan: Plan) -> dict[str, torch.Tensor]:
    """``weight``, ``weight_packed``, ``weight_scale`` …: what the format stores of one layer."""
    from compressed_tensors.compressors.base import BaseCompressor

    assert plan.scheme is not None
    compressor: Any = BaseCompressor.get_value_from_registry(plan.format)
    stored = compressor.compress({"weight": weight.float(), "weight_scale": scale.float()}, plan.scheme)
    return {**stored, "weight_scale": scale}


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    import torch

    if not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if not bool(torch.isfinite(cast).all()):
        raise PackageError(f"{name} holds numbers that {str(dtype).removeprefix('torch.')} cannot: use bfloat16.")
    return cast


def _open_to_readers(folder: Path) -> None:
    """safetensors writes files that only their owner reads; servers run as others."""
    for path in folder.iterdir():
        path.chmod(0o644)


def _write_settings(model: LanguageModel, plan: Plan, dtype: str, folder: Path) -> None:
    # transformers 4 and the vLLM releases that use it look for torch_dtype.
    settings = {**model.settings, "dtype": dtype, "torch_dtype": dtype}
    if plan.config is not None:
        settings["quantization_config"] = plan.config
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_tokenizer(model: LanguageModel, folder: Path) -> None:
    if model.folder is not None:
        for name in _COPIED:
            if (model.folder / name).is_file():
                shutil.copyfile(model.folder / name, folder / name)
        return
    model.tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # The class that transformers 4 and 5 both know; 5 writes a name of its own, which 4 refuses.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    for name in ("backend", "is_local", "local_files_only"):
        settings.pop(name, None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    generation = model.module.generation_config
    if generation is not None:
        known = {key: getattr(generation, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        text = json.dumps({key: value for key, value in known.items() if value is not None}, indent=2, sort_keys=True)
        (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
