"""Tiny text models with seeded weights, as transformers and sentence-transformers save them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from model_packaging.build import package
from model_packaging.config import parse_config

SENTENCES = tuple(
    f"the {thing} does not {what}{' again and again' * (index % 4)}"
    for index, (thing, what) in enumerate(
        (thing, what) for thing in ("printer", "router", "invoice", "ticket") for what in ("start", "arrive", "match")
    )
)


def save_tokenizer(folder: Path, *, last: str | None = None, template: bool = False) -> tuple[int, int]:
    """Words of the sentences by number, a word as number 0; the padding token is ``last`` of all, or [PAD] right
    behind the words. ``template``: [CLS] before and [SEP] behind each text. Returns size and padding id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    names = [*words, "[UNK]", "[CLS]", "[SEP]", last or "[PAD]"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        ends = [(name, names.index(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token=last or "[PAD]", model_max_length=64
    ).save_pretrained(folder)
    return len(names), names.index(last or "[PAD]")


def settings(folder: Path, **source: Any) -> dict[str, Any]:
    """A model.yaml's values for a folder; the samples are written beside it."""
    (folder.parent / "samples.txt").write_text("\n".join(SENTENCES) + "\n")
    return {
        "name": folder.name,
        "source": {"kind": "huggingface", "path": folder.name, "licence": "none", **source},
        "samples": "samples.txt",
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "targets": ["onnxruntime-cpu"],
        "latency": {"batch_sizes": [1], "sequence_length": 8, "repeats": 3},
    }


def packaged(folder: Path, **source: Any) -> Path:
    return package(parse_config(settings(folder, **source), base_dir=folder.parent), folder.parent / "store").path


def served(package: Path, texts: list[str]) -> np.ndarray:
    """What the package's own server answers to one request."""
    folder = package / "onnxruntime"
    spec = importlib.util.spec_from_file_location(f"score_{package.name}", folder / "score.py")
    assert spec is not None
    assert spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    tensor = {"name": "TEXT", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}
    (output,) = score.Model(folder).infer({"inputs": [tensor]})["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def save_sentence_transformer(folder: Path, *modules: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """A BERT of 32 numbers a token, and behind it modules as (name, config.json, weights)."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    size, pad = save_tokenizer(folder, template=True)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=size, pad_token_id=pad, max_position_embeddings=64, initializer_range=0.3, **shape)
    BertModel(config).save_pretrained(folder)
    rows = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for index, (name, values, weights) in enumerate(modules, start=1):
        place = folder / f"{index}_{name}"
        place.mkdir()
        (place / "config.json").write_text(json.dumps(values))
        if weights:
            save_file(weights, str(place / "model.safetensors"))
        kind = f"sentence_transformers.models.{name}"
        rows.append({"idx": index, "name": str(index), "path": place.name, "type": kind})
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": False}))
