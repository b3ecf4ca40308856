"""Whether a checkpoint is quantized as its ``config.json`` says: every layer that vLLM will take for quantized is, with
all that belongs to it, and no other.

vLLM decides by layer name alone: whatever ``quantization_config`` does not name as left out gets quantized parameters.
A checkpoint whose experts were left whole would load halfway, or load wrong numbers.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_packaging.language.weights import FLOATS, StoredTensor, Weights
from spillway.contracts.manifest import PackageError

_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.\d+\.")
_NEVER: Final = re.compile(
    r"\.(?:gate|shared_expert_gate|router|eh_proj|weights_proj|embed_tokens|conv1d|wpe|wte)$|\.shared_head\.|norm"
)
"""What vLLM never quantizes within layers: routers (``quant_config=None`` in its deepseek_v2, mixtral and qwen MoE
classes), projection and head of multi-token prediction (deepseek_mtp), the indexer's weights, convolutions, norms."""
_FUSED_EXPERTS: Final = re.compile(r"\.experts\.(?:gate_up_proj|gate_proj|up_proj|down_proj|w1|w2|w3|w13)$")
_MAIN: Final = ("weight", "weight_packed", "qweight")
"""A layer's matrix, by the last part of its name."""
_MOST_NAMED: Final = 3


@dataclass(frozen=True)
class Format:
    """How one method stores a layer. ``beside``: parts that stand beside the matrix, by the part that holds it.

    ``left_out``: where quantization_config names the layers that are not quantized.
    """

    beside: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    substring: bool = False


FORMATS: Final[dict[str, Format]] = {
    "compressed-tensors": Format({"weight": ("weight_scale",), "weight_packed": ("weight_scale",)}, ("ignore",)),
    "fp8": Format({"weight": ()}, ("modules_to_not_convert", "ignored_layers")),
    "awq": Format({"qweight": ("qzeros", "scales")}, ("modules_to_not_convert",), substring=True),
    "gptq": Format({"qweight": ("qzeros", "scales", "g_idx")}, ("modules_to_not_convert",), substring=True),
    "modelopt": Format({"weight": ("weight_scale",)}, ("ignore", "exclude_modules")),
}
"""``quant_method`` → format, as vLLM's readers of the same names take it."""


def read_config(settings: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """``quantization_config`` of config.json, or of ModelOpt's own file beside it; ``None`` where there is none."""
    found = settings.get("quantization_config")
    beside = folder / "hf_quant_config.json"
    if found is None and beside.is_file():
        found = {"quant_method": "modelopt", **json.loads(beside.read_text(encoding="utf-8"))["quantization"]}
    return found


def check(weights: Weights, config: Mapping[str, Any] | None) -> str:
    """The quantization in words. Raises :class:`PackageError` for one that is half done or that nobody here knows."""
    found = layers(weights)
    stored = {name: tensor for name, tensor in found.items() if tensor.dtype not in FLOATS}
    if config is None:
        if stored:
            name, tensor = next(iter(stored.items()))
            raise PackageError(
                f"{name} is stored as {tensor.dtype}, and config.json has no quantization_config: vLLM would read it "
                "as plain numbers."
            )
        return "not quantized"
    method = method_of(config)
    form = FORMATS.get(method)
    if form is None:
        raise PackageError(
            f"config.json: quantization_config.quant_method: {method!r}; "
            f"known here: {', '.join(FORMATS)}. Give one of these, or the original weights."
        )
    _check_complete(found, stored, config, form, method)
    for name, tensor in stored.items():
        _check_scales(weights, name, tensor, form, config)
    return _in_words(method, config, len(stored))


def method_of(config: Mapping[str, Any]) -> str:
    """``quant_method``, the several names of ModelOpt's as one."""
    method = str(config.get("quant_method", "?"))
    return "modelopt" if method.startswith("modelopt") else method


def layers(weights: Weights) -> dict[str, StoredTensor]:
    """Matrices that vLLM computes as linear layers or experts, by the layer's name; experts of one tensor by its."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in weights.tensors.items():
        stem, _, part = name.rpartition(".")
        if _FUSED_EXPERTS.search(name):
            found[name] = tensor
        elif _is_matrix(name, part, tensor) and not _NEVER.search(stem):
            found[stem] = tensor
    return found


def never_quantized(weights: Weights) -> list[str]:
    """Layers that vLLM leaves alone by itself; other readers have to be told."""
    return [
        stem
        for name, tensor in weights.tensors.items()
        for stem, _, part in [name.rpartition(".")]
        if _is_matrix(name, part, tensor) and _NEVER.search(stem) and "norm" not in stem
    ]


def _is_matrix(name: str, part: str, tensor: StoredTensor) -> bool:
    return bool(_LAYER.search(name)) and part in _MAIN and len(tensor.shape) == 2


def _check_complete(
    layers: Mapping[str, StoredTensor],
    stored: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
    form: Format,
    method: str,
) -> None:
    patterns = [str(pattern) for key in form.left_out for pattern in config.get(key) or ()]
    patterns += [f"re:{text[2:]}" for text in config.get("dynamic") or {} if str(text).startswith("-:")]
    left_out = {name for name in layers if _named(name, patterns, form)}
    forgotten = [name for name in layers if name not in stored and name not in left_out]
    if forgotten:
        raise PackageError(
            f"half quantized: {_some(forgotten)} {_is(forgotten)} stored as {layers[forgotten[0]].dtype}, and "
            f"quantization_config ({method}) does not leave {_it(forgotten)} out ({' or '.join(form.left_out)}): vLLM "
            "would take the numbers for quantized ones. Quantize all of them, or name those that are not."
        )
    doubled = [name for name in stored if name in left_out]
    if doubled:
        raise PackageError(
            f"{_some(doubled)} {_is(doubled)} stored as {stored[doubled[0]].dtype}, and quantization_config ({method}) "
            f"says that {_it(doubled)} would not be quantized: vLLM would take the numbers for plain ones."
        )


def _named(name: str, patterns: list[str], form: Format) -> bool:
    """As the readers match: regular expressions after ``re:``, wildcards, whole names or the parts above a layer; some
    formats match any part of a name."""
    for pattern in patterns:
        if pattern.startswith("re:"):
            if re.match(pattern[3:], name):
                return True
        elif "*" in pattern:
            if fnmatch.fnmatch(name, pattern):
                return True
        elif name == pattern or name.startswith(f"{pattern}.") or (form.substring and re.search(pattern, name)):
            return True
    return False


def _check_scales(weights: Weights, name: str, tensor: StoredTensor, form: Format, config: Mapping[str, Any]) -> None:
    part = tensor.name.removeprefix(f"{name}.")
    if part not in form.beside:
        raise PackageError(f"{tensor.name}: this format keeps a layer in {' or '.join(form.beside)}.")
    missing = [beside for beside in form.beside[part] if f"{name}.{beside}" not in weights.tensors]
    if "qzeros" in missing and config.get("sym") and config.get("checkpoint_format") == "marlin":
        missing.remove("qzeros")
    if missing:
        raise PackageError(f"{name} has no {', '.join(missing)}: quantized numbers mean nothing without.")
    if method_of(config) == "fp8":
        _check_fp8(weights, name, tensor, config)
    elif part != "qweight":
        scale = weights.tensors[f"{name}.weight_scale"]
        if len(scale.shape) == 2 and scale.shape[0] not in (tensor.shape[0], 1) and not config.get("weight_block_size"):
            _check_blocks(name, tensor, scale, _block_structure(config))


def _check_fp8(weights: Weights, name: str, tensor: StoredTensor, config: Mapping[str, Any]) -> None:
    """DeepSeek's form: a scale for each block of rows and columns; without blocks one scale for the whole layer."""
    block = config.get("weight_block_size")
    wanted = "weight_scale_inv" if block else "weight_scale"
    scale = weights.tensors.get(f"{name}.{wanted}")
    if scale is None:
        raise PackageError(f"{name} has no {wanted}: quantized numbers mean nothing without.")
    if block:
        _check_blocks(name, tensor, scale, block)


def _check_blocks(name: str, tensor: StoredTensor, scale: StoredTensor, block: list[int] | None) -> None:
    wanted = tuple(math.ceil(size / part) for size, part in zip(tensor.shape, block or (1, 1), strict=True))
    if scale.shape != wanted:
        raise PackageError(
            f"{name}: scales of shape {list(scale.shape)} for weights of {list(tensor.shape)} in blocks of {block}; "
            f"expected {list(wanted)}."
        )


def _block_structure(config: Mapping[str, Any]) -> list[int] | None:
    for group in (config.get("config_groups") or {}).values():
        if block := (group.get("weights") or {}).get("block_structure"):
            return block
    return None


def _in_words(method: str, config: Mapping[str, Any], layers: int) -> str:
    block = config.get("weight_block_size")
    kind = config.get("format") or config.get("quant_algo") or ""
    bits = config.get("bits") or config.get("w_bit")
    parts = [
        method,
        str(kind) if kind and kind != method else "",
        f"{bits} bits" if bits else "",
        f"blocks of {block[0]} by {block[1]}" if block else "",
    ]
    return f"{' '.join(part for part in parts if part)}, {layers} layers, as it came"


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _it(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"
