"""Variants in compressed-tensors' terms: what ``config.json`` says and what each linear layer becomes.

The formats are those that vLLM's reader takes (vllm/model_executor/layers/quantization/compressed_tensors):
``pack-quantized`` → its WNA16 scheme, ``int-quantized`` with per-token activations → W8A8Int8, ``float-quantized`` →
W8A8Fp8 (W8A16Fp8 where the GPU has no fp8). Only keys that compressed-tensors 0.11 (vLLM 0.11) knows are written:
its models refuse keys that later versions added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from model_packaging.language.config import LanguageVariant
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme
    from torch import nn

HEAD: Final = "lm_head"
"""Never quantized: vLLM and transformers tie it to the embeddings in small models, and it decides every token."""

_FORMATS: Final = {
    "w8a16": "pack-quantized",
    "w4a16": "pack-quantized",
    "w8a8-int8": "int-quantized",
    "fp8": "float-quantized",
}
_FUSED: Final = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that vLLM joins into one: it refuses a model that quantizes some of a group."""


@dataclass(frozen=True)
class Plan:
    """What a variant does to a model: the layers it quantizes, the others, and how. ``scheme`` is None for none."""

    scheme: QuantizationScheme | None
    format: str
    quantized: tuple[str, ...]
    ignored: tuple[str, ...]
    config: dict[str, Any] | None
    """``quantization_config`` of config.json."""
    summary: str


def plan(variant: LanguageVariant, model: nn.Module) -> Plan:
    """Decide layer by layer. Raises :class:`PackageError` for a group size that does not divide, or a split group."""
    if variant.precision not in _FORMATS:
        return Plan(None, "dense", (), (), None, variant.precision)
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    widths = _linear_widths(model)
    _check_patterns(variant, widths)
    ignored = tuple(name for name in widths if name.split(".")[-1] == HEAD or _kept(name, variant.keep))
    quantized = tuple(name for name in widths if name not in ignored)
    if not quantized:
        raise PackageError(f"{variant.name}: no linear layer is left to quantize; remove some of keep.")
    _check_fused(variant, ignored, quantized)
    _check_groups(variant, {name: widths[name] for name in quantized})

    weights = _weights(variant)
    activations = _activations(variant)
    scheme = QuantizationScheme(
        targets=["Linear"],
        weights=QuantizationArgs(**weights),
        input_activations=QuantizationArgs(**activations) if activations else None,
    )
    config = {
        "quant_method": "compressed-tensors",
        "format": _FORMATS[variant.precision],
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": activations,
                "output_activations": None,
            }
        },
        # A tied head has no weight of its own, so it is named even where the model holds none.
        "ignore": sorted({*ignored, HEAD}),
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }
    return Plan(scheme, _FORMATS[variant.precision], quantized, ignored, config, _summary(variant, len(quantized)))


def _weights(variant: LanguageVariant) -> dict[str, Any]:
    grouped = variant.group_size is not None
    return {
        "num_bits": 4 if variant.precision == "w4a16" else 8,
        "type": "float" if variant.precision == "fp8" else "int",
        "symmetric": True,
        "strategy": "group" if grouped else "channel",
        "group_size": variant.group_size,
        "dynamic": False,
    }


def _activations(variant: LanguageVariant) -> dict[str, Any] | None:
    """Per token and dynamic: scales are taken from each request, so nothing has to be calibrated."""
    if variant.weight_only:
        return None
    kind = "float" if variant.precision == "fp8" else "int"
    return {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "group_size": None, "dynamic": True}


def _summary(variant: LanguageVariant, layers: int) -> str:
    scales = f"scale per {variant.group_size} weights" if variant.group_size else "scale per row"
    kind = {"w8a16": "int8", "w4a16": "int4", "w8a8-int8": "int8", "fp8": "fp8 e4m3"}[variant.precision]
    inputs = "" if variant.weight_only else f", {kind} inputs scaled per token"
    how = "GPTQ" if variant.method == "gptq" else "rounded to nearest"
    return f"{kind} weights of {layers} linear layers, {scales}, {how}{inputs}"


def _linear_widths(model: nn.Module) -> dict[str, int]:
    """Name → input width of every linear layer."""
    from torch import nn

    return {name: module.in_features for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def _kept(name: str, patterns: Sequence[str]) -> bool:
    """As compressed-tensors matches ``ignore``: ``re:`` patterns from the start of the name, others whole."""
    return any(
        bool(re.match(pattern[3:], name)) if pattern.startswith("re:") else pattern == name for pattern in patterns
    )


def _check_patterns(variant: LanguageVariant, widths: dict[str, int]) -> None:
    for pattern in variant.keep:
        if not any(_kept(name, (pattern,)) for name in widths):
            raise PackageError(
                f"{variant.name}: keep: {pattern!r} fits no linear layer; for example {next(iter(widths))}"
            )


def _check_fused(variant: LanguageVariant, ignored: Sequence[str], quantized: Sequence[str]) -> None:
    taken = set(quantized)
    for name in ignored:
        stem, _, leaf = name.rpartition(".")
        for group in _FUSED:
            split = [other for other in group if leaf in group and f"{stem}.{other}" in taken]
            if split:
                raise PackageError(
                    f"{variant.name}: keep: {name} is kept and {stem}.{split[0]} is not; vLLM joins "
                    f"{', '.join(group)} into one layer, so keep all of them or none."
                )


def _check_groups(variant: LanguageVariant, widths: dict[str, int]) -> None:
    size = variant.group_size
    if size is None:
        return
    if bad := {name: width for name, width in widths.items() if width % size}:
        name, width = next(iter(bad.items()))
        fitting = [str(other) for other in (32, 64, 128) if not any(w % other for w in widths.values())]
        raise PackageError(
            f"{variant.name}: group_size {size} does not divide the {width} inputs of {name} (and {len(bad) - 1} more "
            f"layers); allowed here: {', '.join([*fitting, 'none (one scale per row)'])}."
        )
