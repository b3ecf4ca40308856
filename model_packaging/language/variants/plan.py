"""What a variant does to a model: which of its layers it quantizes, and what stands in its config.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from model_packaging.language import quantized
from model_packaging.language.variants.scheme import BLOCK, Scheme
from model_packaging.language.variants.settings import LanguageVariant
from model_packaging.language.weights import StoredTensor, Weights
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

HEAD: Final = "lm_head"
"""Never quantized: vLLM and transformers tie it to the embeddings in small models, and it decides every token."""

_FUSED: Final = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
    ("q_a_proj", "kv_a_proj_with_mqa"),
)
"""Layers that vLLM joins into one: it refuses a model that quantizes some of a group."""
_ABSORBED: Final = ".kv_b_proj"
"""Of latent attention: vLLM unpacks it after loading and multiplies it into other matrices (mla_attention.py), so that
numbers rounded in it would cost accuracy and save nothing."""
_EXPERT: Final = re.compile(r"^(.*\.experts)\.\d+\.")
_TRANSPOSED: Final = ("gpt2",)
"""Models that store their layers as [inputs, outputs], which no format here is made for."""


@dataclass(frozen=True)
class Recipe:
    """What a variant does to a model: the layers it quantizes, the others, and how.

    ``quantization``: compressed-tensors' arguments, ``None`` where it stores nothing of it.
    """

    scheme: Scheme
    quantization: QuantizationScheme | None
    quantized: frozenset[str]
    ignored: tuple[str, ...]
    config: dict[str, Any] | None
    """``quantization_config`` of config.json."""
    summary: str
    unpack_to_check: bool = False
    """Whether the check has to unpack the weights as they are loaded, and so computes with inputs that are not rounded:
    transformers does no more for experts, nor for blocks without a GPU."""


def plan(variant: LanguageVariant, weights: Weights, settings: Mapping[str, Any]) -> Recipe:
    """Decide layer by layer. Raises :class:`PackageError` for a group size that does not divide, a split group, or a
    model that would be quantized by half."""
    scheme = variant.scheme
    if scheme.weights is None:
        return Recipe(scheme, None, frozenset(), (), None, scheme.precision)
    layers = quantized.layers(weights)
    _check_whole(variant, layers, settings)
    _check_patterns(variant, layers)
    predicting = _predicting_layers(settings)
    ignored = tuple(
        name for name in layers if name.endswith(_ABSORBED) or predicting.match(name) or _kept(name, variant.keep)
    )
    if scheme.blocks:
        ignored += tuple(_without_whole_blocks(variant, layers, ignored))
    taken = [name for name in layers if name not in set(ignored)]
    if not taken:
        raise PackageError(f"{variant.name}: no linear layer is left to quantize; remove some of keep.")
    experts = [name for name in taken if _EXPERT.match(name)]
    _check_joined(variant, ignored, taken)
    _check_experts(variant, ignored, experts)
    _check_groups(variant, {name: layers[name].shape[1] for name in taken})

    # A tied head has no weight of its own, so it is named even where the model holds none.
    config = scheme.config(variant.group_size, {*ignored, *quantized.never_quantized(weights), HEAD})
    summary = scheme.summary(len(taken), len(experts), variant.group_size, variant.method)
    unpack = bool(experts) or scheme.blocks
    return Recipe(scheme, _quantization(variant), frozenset(taken), ignored, config, summary, unpack)


def _without_whole_blocks(
    variant: LanguageVariant, layers: Mapping[str, StoredTensor], ignored: Sequence[str]
) -> Iterator[str]:
    """Layers that blocks do not divide, with those that vLLM joins to them: transformers, by which they are checked,
    takes other blocks there than vLLM does."""
    odd = {name for name, tensor in layers.items() if any(size % BLOCK for size in tensor.shape)} - {*ignored}
    if experts := sorted(name for name in odd if _EXPERT.match(name)):
        raise PackageError(
            f"{variant.name}: {experts[0]} is {list(layers[experts[0]].shape)}, which blocks of {BLOCK} do not divide: "
            "the experts would stay as they are, and the model would be half quantized. Use fp8."
        )
    for name in layers:
        stem, _, leaf = name.rpartition(".")
        joined = next((group for group in _FUSED if leaf in group), (leaf,))
        if name not in ignored and any(f"{stem}.{other}" in odd for other in joined):
            yield name


def _quantization(variant: LanguageVariant) -> QuantizationScheme | None:
    scheme = variant.scheme
    if scheme.blocks:
        return None
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    inputs = scheme.input_arguments()
    return QuantizationScheme(
        targets=["Linear"],
        weights=QuantizationArgs(**scheme.weight_arguments(variant.group_size)),
        input_activations=QuantizationArgs(**inputs) if inputs else None,
    )


def _check_whole(variant: LanguageVariant, layers: Mapping[str, StoredTensor], settings: Mapping[str, Any]) -> None:
    """Everything that weighs has to be a matrix of one layer, laid as the format wants it."""
    if settings.get("model_type") in _TRANSPOSED:
        raise PackageError(f"{variant.name}: {settings['model_type']} stores its layers transposed; use bf16 or fp16.")
    joined = [name for name, tensor in layers.items() if len(tensor.shape) != 2]
    if joined:
        raise PackageError(
            f"{variant.name}: {joined[0]} holds all experts in one tensor of shape {list(layers[joined[0]].shape)}: "
            "they would stay as they are, and the model would be half quantized. Use bf16 or fp16, or package a "
            "checkpoint that is quantized already with source.weights: as-is."
        )
    with_experts = any(_EXPERT.match(name) for name in layers)
    if with_experts and not variant.scheme.experts:
        raise PackageError(
            f"{variant.name}: transformers cannot read experts of this precision back, so nobody could check them; use "
            "fp8, fp8-block, w8a16 or w4a16."
        )
    if with_experts and variant.method == "gptq":
        raise PackageError(
            f"{variant.name}: gptq sees only the tokens that reach an expert, and transformers computes all experts of "
            "a layer as one; use method: round, or quantize with llm-compressor and package with weights: as-is."
        )


def _predicting_layers(settings: Mapping[str, Any]) -> re.Pattern[str]:
    """Layers after the last one predict further tokens; transformers has no class for them, so nobody could check."""
    count = settings.get("num_hidden_layers")
    if not isinstance(count, int):
        return re.compile("$^")
    following = "|".join(str(count + index) for index in range(settings.get("num_nextn_predict_layers") or 0))
    return re.compile(rf"model\.layers\.(?:{following})\." if following else "$^")


def _kept(name: str, patterns: Sequence[str]) -> bool:
    """As compressed-tensors matches ``ignore``: ``re:`` patterns from the start of the name, others whole."""
    return any(
        bool(re.match(pattern[3:], name)) if pattern.startswith("re:") else pattern == name for pattern in patterns
    )


def _check_patterns(variant: LanguageVariant, layers: Mapping[str, StoredTensor]) -> None:
    for pattern in variant.keep:
        if not any(_kept(name, (pattern,)) for name in layers):
            raise PackageError(
                f"{variant.name}: keep: {pattern!r} fits no linear layer; for example {next(iter(layers))}"
            )


def _check_joined(variant: LanguageVariant, ignored: Sequence[str], taken: Sequence[str]) -> None:
    found = set(taken)
    for name in ignored:
        stem, _, leaf = name.rpartition(".")
        for group in _FUSED:
            split = [other for other in group if leaf in group and f"{stem}.{other}" in found]
            if split:
                raise PackageError(
                    f"{variant.name}: keep: {name} is kept and {stem}.{split[0]} is not; vLLM joins "
                    f"{', '.join(group)} into one layer, so keep all of them or none."
                )


def _check_experts(variant: LanguageVariant, ignored: Sequence[str], experts: Sequence[str]) -> None:
    """vLLM asks for the first expert's three matrices and takes all of the layer for the same."""
    taken = {match[1] for name in experts if (match := _EXPERT.match(name))}
    for name in ignored:
        match = _EXPERT.match(name)
        if match and match[1] in taken:
            raise PackageError(
                f"{variant.name}: keep: {name} is kept and others of {match[1]} are not; vLLM computes all experts "
                "of a layer as one, so keep all of them or none."
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
