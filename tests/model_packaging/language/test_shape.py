"""Positions, KV cache and parallelism by config.json. The configurations are excerpts of public models' files; the KV
figures are those models' own: DeepSeek-V3's latent of 512 and 64 over 61 layers (arXiv:2412.19437, 4.2)."""

from __future__ import annotations

from typing import Any

import pytest

from model_packaging.language import shape
from spillway.contracts.manifest import LanguageServing, PackageError

DEEPSEEK_V3 = {
    "max_position_embeddings": 163840,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
}
R1_DISTILL_70B = {
    "max_position_embeddings": 131072,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "hidden_size": 8192,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
}
QWEN_YARN = {
    "max_position_embeddings": 32768,
    "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
}


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        (DEEPSEEK_V3, 163840),
        (R1_DISTILL_70B, 131072),
        (QWEN_YARN, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 8.0}}, 32768),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default"}}, 4096),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "full_attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            131072,
        ),
        ({"model_type": "gemma3_text", "max_position_embeddings": 4096, "rope_scaling": {"factor": 8.0}}, 4096),
        ({"text_config": {"max_position_embeddings": 2048}}, 2048),
        ({"n_positions": 1024}, 1024),
        ({}, None),
    ],
)
def test_the_scaled_length_counts(settings: dict[str, Any], length: int | None) -> None:
    assert shape.longest_context(settings) == length


def test_vllm_is_told_the_scaled_length_where_it_looks() -> None:
    """vLLM takes ``max_position_embeddings`` for scaled already (config/model.py), and would refuse the length."""
    assert shape.with_positions(QWEN_YARN, 100_000)["max_position_embeddings"] == 131072
    assert shape.with_positions(QWEN_YARN, 32768) is QWEN_YARN
    assert shape.with_positions(DEEPSEEK_V3, 4096) is DEEPSEEK_V3


def test_kv_cache_of_a_token() -> None:
    assert shape.kv_cache(DEEPSEEK_V3, "auto") == (61 * 576 * 2, 1)
    assert shape.kv_cache(R1_DISTILL_70B, "auto") == (2 * 80 * 8 * 128 * 2, 8)
    assert shape.kv_cache(R1_DISTILL_70B, "fp8_e4m3") == (2 * 80 * 8 * 128, 8)
    mixed = {**R1_DISTILL_70B, "layer_types": ["full_attention", "sliding_attention"] * 40}
    assert shape.kv_cache(mixed, "auto") == (2 * 40 * 8 * 128 * 2, 8)
    assert shape.kv_cache(R1_DISTILL_70B, "nvfp4") == (None, 1)
    assert shape.kv_cache({}, "auto") == (None, 1)


def test_parallelism_divides_heads_and_layers() -> None:
    shape.check_parallel(R1_DISTILL_70B, 8, 2)
    with pytest.raises(PackageError, match="3 does not divide the 64 attention heads; allowed: 1, 2, 4, 8, 16, 32, 64"):
        shape.check_parallel(R1_DISTILL_70B, 3, 1)
    with pytest.raises(PackageError, match="the model has 80 layers"):
        shape.check_parallel(R1_DISTILL_70B, 1, 81)


def test_what_a_gpu_has_to_hold() -> None:
    """R1-Distill-70B in bf16 on eight GPUs: 141 GB of weights by eight, and 128 k tokens of one KV head."""
    kv, shards = shape.kv_cache(R1_DISTILL_70B, "auto")
    serving = LanguageServing(
        max_model_len=131072,
        max_num_seqs=1,
        tensor_parallel_size=8,
        dtype="bfloat16",
        quantization="none",
        scheme="bf16",
        tokenizer="x",
        vocabulary=1,
        chat_template=True,
        weights_bytes=141_107_412_992,
        kv_bytes_per_token=kv,
        kv_shards=shards,
    )
    assert serving.gpus == 8
    assert serving.bytes_per_gpu() == 141_107_412_992 // 8 + 131072 * 327680 // 8
    latent = serving.model_copy(update={"kv_shards": 1})
    assert latent.bytes_per_gpu() == 141_107_412_992 // 8 + 131072 * 327680
    assert serving.model_copy(update={"kv_bytes_per_token": None}).bytes_per_gpu() is None


def test_deepseek_v3_says_how_it_routes() -> None:
    """transformers 5 saves its configuration without, and vLLM 0.24 ended with KeyError on such a package (H200)."""
    own = {"model_type": "deepseek_v3"}
    biased = {"model.layers.3.mlp.gate.e_score_correction_bias"}
    assert shape.with_router(own, biased)["topk_method"] == "noaux_tc"
    assert shape.with_router({**own, "topk_method": "other"}, biased)["topk_method"] == "other"
    assert shape.with_router(own, set()) is own
    v2 = {"model_type": "deepseek_v2"}
    assert shape.with_router(v2, biased) is v2
