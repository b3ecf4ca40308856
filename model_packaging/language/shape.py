"""What a model's ``config.json`` says about its size: positions, KV cache, and whether vLLM knows it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, Final

from spillway.contracts import vllm_options
from spillway.contracts.manifest import PackageError

_LENGTHS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""Keys that vLLM takes the least of (model_arch_config_convertor.py, derive_max_model_len_and_key)."""
_SCALED_ALREADY: Final = ("default", "su", "longrope", "llama3", "mrope")
_YARN: Final = ("yarn", "deepseek_yarn", "deepseek_llama_scaling")
_ONE_BYTE: Final = ("fp8", "int8")


def check_architecture(settings: Mapping[str, Any]) -> None:
    """Raises :class:`PackageError` for a model that the pinned vLLM has no class for."""
    known = vllm_options.table()["architectures"]
    given = settings.get("architectures") or []
    if not any(name in known for name in given):
        raise PackageError(
            f"config.json: architectures: {given}; vLLM {vllm_options.engine_version()} has no class for it, so no "
            "site could serve the package."
        )


def longest_context(settings: Mapping[str, Any]) -> int | None:
    """Tokens that the model takes with its rope scaling; nothing where config.json names no length.

    vLLM's own rule (config/model.py, _get_and_verify_max_len), except that YaRN counts as scaled from the original
    length too: vLLM expects the scaled length in ``max_position_embeddings``, which many configurations leave unscaled,
    and :func:`with_positions` writes it there.
    """
    text = _text_part(settings)
    lengths = [text[key] for key in _LENGTHS if isinstance(text.get(key), int)]
    own = text.get("model_max_length") or (min(lengths) if lengths else None)
    if own is None or "gemma3" in str(text.get("model_type")):
        return own
    longest = float(own)
    for rope in _ropes(text):
        kind, factor = rope.get("rope_type") or rope.get("type") or "default", rope.get("factor") or 1.0
        if kind in _YARN:
            longest = max(longest, rope.get("original_max_position_embeddings", 0) * factor)
        elif kind not in _SCALED_ALREADY:
            longest = own * factor
    return int(longest)


def with_positions(settings: dict[str, Any], length: int) -> dict[str, Any]:
    """The same config.json, with the scaled length where vLLM looks for it, if ``length`` needs it."""
    own = settings.get("max_position_embeddings")
    yarn = any((rope.get("rope_type") or rope.get("type")) in _YARN for rope in _ropes(settings))
    if not yarn or not isinstance(own, int) or length <= own:
        return settings
    return {**settings, "max_position_embeddings": longest_context(settings)}


def with_router(settings: dict[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """The same config.json, with DeepSeek-V3's way of routing by its own names.

    transformers 5 saves it without them, as its class knows no other way; vLLM then makes no room for the routers' bias
    and ends with a KeyError (deepseek_v2.py). The original files have both.
    """
    biased = any(f"model.layers.{layer}.mlp.gate.e_score_correction_bias" in tensors for layer in range(128))
    if not biased or settings.get("model_type") != "deepseek_v3":
        return settings
    return {"topk_method": "noaux_tc", "scoring_func": "sigmoid", **settings}


def kv_cache(settings: Mapping[str, Any], kv_cache_dtype: str) -> tuple[int | None, int]:
    """KV bytes of a token over the layers that keep the whole context, and how many GPUs can share them.

    Latent attention (MLA) keeps one vector for all heads, whole on each GPU. Nothing where config.json does not say it.
    """
    text = _text_part(settings)
    layers = text.get("num_hidden_layers")
    if not isinstance(layers, int) or "4" in kv_cache_dtype.replace("e4m3", ""):
        return None, 1
    size = 1 if kv_cache_dtype.startswith(_ONE_BYTE) else 2
    if isinstance(rank := text.get("kv_lora_rank"), int):
        return layers * (rank + text.get("qk_rope_head_dim", 0)) * size, 1
    heads = text.get("num_attention_heads")
    kv_heads = text.get("num_key_value_heads") or heads
    width = text.get("head_dim") or (text.get("hidden_size", 0) // heads if isinstance(heads, int) else None)
    if not isinstance(kv_heads, int) or not isinstance(width, int):
        return None, 1
    kinds = text.get("layer_types")
    whole = sum(kind == "full_attention" for kind in kinds) if isinstance(kinds, list) else layers
    return 2 * whole * kv_heads * width * size, kv_heads


def check_parallel(settings: Mapping[str, Any], tensor: int, pipeline: int) -> None:
    """vLLM's own bounds: heads divide among the GPUs of a group, layers among the groups."""
    text = _text_part(settings)
    heads, layers = text.get("num_attention_heads"), text.get("num_hidden_layers")
    if isinstance(heads, int) and heads % tensor:
        fitting = [str(number) for number in range(1, heads + 1) if heads % number == 0]
        raise PackageError(
            f"vllm.tensor_parallel_size: {tensor} does not divide the {heads} attention heads; "
            f"allowed: {', '.join(fitting)}."
        )
    if isinstance(layers, int) and pipeline > layers:
        raise PackageError(f"vllm.pipeline_parallel_size: {pipeline}; the model has {layers} layers.")


def _text_part(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model of a model that sees as well."""
    return settings.get("text_config") or settings


def _ropes(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Rotary settings: one, or one for each type of layer; ``rope_scaling`` as transformers 4 names them."""
    for key in ("rope_parameters", "rope_scaling"):
        found = text.get(key)
        if not isinstance(found, Mapping):
            continue
        parts = [part for part in found.values() if isinstance(part, Mapping)]
        yield from parts or [found]
        return
