"""A Llama of a few hundred kilobytes with a tokenizer of its own, made by code: real files, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[2] / "model_packaging" / "examples" / "smollm2"
TEXT = EXAMPLE / "perplexity.txt"
CALIBRATION = EXAMPLE / "calibration.txt"
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"


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
