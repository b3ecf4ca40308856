"""Writes a variant as a Hugging Face folder: config.json, tokenizer and safetensors, the same bytes every time.

Tensors are read one by one and written file by file, under the names that they came with: neither the model nor all of
its weights are ever in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_packaging.language.source import LanguageModel
from model_packaging.language.variants.plan import HEAD, Recipe
from model_packaging.language.variants.scheme import BLOCK
from model_packaging.language.weights import INDEX
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import torch

COPIED: Final = (
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
"""Files beside the weights that a server reads."""
_SHARD_BYTES: Final = 4_000_000_000
_SMALLEST_SCALE: Final = 1e-7
"""The smallest that float16 still tells from 0."""
_FP8_MAX: Final = 448.0
"""Largest number of fp8 e4m3."""
_EXACT: Final = ("e_score_correction_bias",)
"""Kept in fp32: routers compare by it, and transformers and vLLM both hold it so."""


def write(
    model: LanguageModel, plan: Recipe, dtype: str, folder: Path, rounded: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the folder. ``rounded``: GPTQ's weights, by layer, already multiples of the model's :func:`scales`.

    Raises :class:`PackageError` when a weight does not fit ``dtype``.
    """
    import torch

    folder.mkdir(parents=True)
    target: torch.dtype = getattr(torch, dtype)
    files = _Files(folder)
    for name, tensor in model.weights.each():
        layer, _, kind = name.rpartition(".")
        if model.tied and layer == HEAD:
            continue
        if kind == "weight" and layer in plan.quantized:
            weight = tensor.float() if rounded is None else rounded[layer]
            for part, value in _quantize(weight, plan, dtype).items():
                files.add(f"{layer}.{part}", value)
        else:
            files.add(name, tensor.float() if kind in _EXACT else _cast(name, tensor, target))
    files.finish()
    _write_settings(model, plan, dtype, folder)
    for name in COPIED:
        if (model.folder / name).is_file():
            shutil.copyfile(model.folder / name, folder / name)


def scales(weight: torch.Tensor, plan: Recipe, dtype: str) -> torch.Tensor:
    """One scale per row or group, ``dtype`` [rows, groups]: the largest magnitude over the type's largest number.

    Whatever is rounded is rounded by the scale as it is stored, not by the one that was cast to it.
    """
    import torch
    from compressed_tensors.quantization.utils import calculate_qparams

    assert plan.quantization is not None
    assert plan.quantization.weights is not None
    size = plan.quantization.weights.group_size or weight.shape[1]
    grouped = weight.float().reshape(weight.shape[0], -1, size)
    found, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), plan.quantization.weights)
    # A group of zeros needs a scale too, and any will do.
    return found.clamp(min=_SMALLEST_SCALE).to(getattr(torch, dtype))


def _quantize(weight: torch.Tensor, plan: Recipe, dtype: str) -> dict[str, torch.Tensor]:
    """``weight``, ``weight_packed``, ``weight_scale`` …: what the format stores of one layer."""
    if plan.scheme.blocks:
        return _in_blocks(weight)
    from compressed_tensors.compressors.base import BaseCompressor

    scale = scales(weight, plan, dtype)
    compressor: Any = BaseCompressor.get_value_from_registry(plan.scheme.format)
    stored = compressor.compress({"weight": weight, "weight_scale": scale.float()}, plan.quantization)
    return {**stored, "weight_scale": scale}


def _in_blocks(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """DeepSeek's form: fp8 e4m3, and for each block of rows and columns its largest magnitude over fp8's."""
    import torch

    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    scale = (blocks.abs().amax((1, 3)) / _FP8_MAX).clamp(min=_SMALLEST_SCALE)
    numbers = (blocks / scale[:, None, :, None]).reshape(padded.shape)[:rows, :columns]
    return {"weight": numbers.to(torch.float8_e4m3fn), "weight_scale_inv": scale}


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    import torch

    if not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if not bool(torch.isfinite(cast).all()):
        raise PackageError(f"{name} holds numbers that {str(dtype).removeprefix('torch.')} cannot: use bfloat16.")
    return cast


class _Files:
    """Tensors on their way into safetensors files of at most :data:`_SHARD_BYTES`, named as the Hub's are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._written: list[tuple[Path, list[str]]] = []
        self._total = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._waiting and self._bytes + size > _SHARD_BYTES:
            self._flush()
        self._waiting[name] = tensor.contiguous()
        self._bytes += size
        self._total += size

    def finish(self) -> None:
        """Write what is left, and the index where there are several files."""
        self._flush()
        if len(self._written) == 1:
            self._written[0][0].rename(self._folder / "model.safetensors")
            return
        listed: dict[str, str] = {}
        for number, (path, names) in enumerate(self._written, 1):
            name = f"model-{number:05}-of-{len(self._written):05}.safetensors"
            path.rename(self._folder / name)
            listed |= dict.fromkeys(names, name)
        index = {"metadata": {"total_size": self._total}, "weight_map": listed}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _flush(self) -> None:
        from safetensors.torch import save_file

        path = self._folder / f"part-{len(self._written)}.safetensors"
        save_file(self._waiting, path, metadata={"format": "pt"})
        # safetensors writes files that only their owner reads; servers run as others.
        path.chmod(0o644)
        self._written.append((path, list(self._waiting)))
        self._waiting, self._bytes = {}, 0


def _write_settings(model: LanguageModel, plan: Recipe, dtype: str, folder: Path) -> None:
    # transformers 4 and the vLLM releases that use it look for torch_dtype.
    settings = {**model.settings, "dtype": dtype, "torch_dtype": dtype}
    if plan.config is not None:
        settings["quantization_config"] = plan.config
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
