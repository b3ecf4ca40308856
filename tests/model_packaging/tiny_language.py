"""Models of a few hundred kilobytes with a tokenizer of their own, made by code: real files, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

EXAMPLE = ROOT / "model_packaging" / "examples" / "smollm2"
TEXT = EXAMPLE / "perplexity.txt"
CALIBRATION = EXAMPLE / "calibration.txt"
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"


_SHAPE: dict[str, Any] = {
    # More than the tokenizer's, since some families' tokenizers add tokens of their own.
    "vocab_size": 320,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "initializer_range": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 128}
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 32,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    **_EXPERTS,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "qwen3-moe": ("Qwen3Moe", {"head_dim": 32, "num_experts": 4, "decoder_sparse_step": 1, **_EXPERTS}),
    "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek-v2": ("DeepseekV2", {**_LATENT, "n_group": 1, "topk_group": 1, "topk_method": "greedy"}),
    "deepseek-v3": ("DeepseekV3", {**_LATENT, "n_group": 2, "topk_group": 1}),
}
"""By name: transformers' prefix of the class, and what its configuration says besides :data:`_SHAPE`."""


def write_family(folder: Path, family: str, **changes: Any) -> Path:
    """A model of one of :data:`FAMILIES` as a Hugging Face folder, under the names that the Hub's files use."""
    import torch
    import transformers

    prefix, own = FAMILIES[family]
    settings = getattr(transformers, f"{prefix}Config")(**{**_SHAPE, **own, **changes})
    torch.manual_seed(0)
    getattr(transformers, f"{prefix}ForCausalLM")(settings).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_model(folder: Path, *, width: int = 128, inner: int = 192, tied: bool = True) -> Path:
    """Save it as a Hugging Face folder. Weights are drawn from one seed, wide enough that answers differ."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = LlamaConfig(
        vocab_size=300,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(settings).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train([str(TEXT)], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Values of a model.yaml for it."""
    values: dict[str, Any] = {
        "name": "tiny",
        "source": {"kind": "causal-lm", "path": str(folder), "licence": "Apache-2.0"},
        "variants": [{"precision": "w8a16", "max_perplexity_ratio": 1.05, "min_top1": 0.9}],
        "checks": {"text": str(TEXT), "tokens": 128, "window": 32, "prompts": str(EXAMPLE / "prompts.txt")},
        "vllm": {"max_model_len": 128},
    }
    values["checks"]["new_tokens"] = 4
    return values | changes
