"""Servers pad texts: what a model is checked, compiled and refused for is the length that it is really sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.tensorrt.settings import EngineSettings
from model_packaging.tensorrt.triton import check_profiles, portable_model
from model_packaging.tensors.settings import ServingConfig
from spillway.contracts.manifest import TRITON_REPOSITORY, PackageError

pytestmark = pytest.mark.heavy

CUT_AT, PADDED_TO = 20, 32


def build(folder: Path, positions: int, **serving: Any) -> Path:
    """A tiny BERT whose texts are cut at 20 tokens, which servers pad to 32; packaged."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(("[PAD]", "[UNK]", "one", "sentence", "another"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=positions, **sizes)
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    (folder / "samples.txt").write_text("one sentence\nanother sentence\n" + "one " * 50)
    said = {"pooling": "mean", "normalise": True}
    values = {
        "name": "tiny",
        "source": {"kind": "huggingface", "path": ".", "licence": "MIT", "max_length": CUT_AT, **said},
        "samples": "samples.txt",
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "targets": ["ngc-triton-24.10"],
        "latency": {"repeats": 3},
        "serving": serving,
    }
    return package(parse_config(values, base_dir=folder), folder / "store").path


def test_a_model_that_padded_texts_are_too_long_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"longest text .* 32 tokens \(source\.max_length 20.*pad_to_multiple_of"):
        build(tmp_path, positions=CUT_AT)
    assert not list(tmp_path.glob("store/tiny/*/manifest.json"))


def test_engines_are_made_for_padded_texts(tmp_path: Path) -> None:
    built = build(tmp_path, positions=64, accelerator="tensorrt-ep")
    config = (built / TRITON_REPOSITORY / "tiny_encoder" / "config.pbtxt").read_text()
    assert f'value: "input_ids:32x{PADDED_TO},attention_mask:32x{PADDED_TO}"' in config
    portable = portable_model(built)
    assert (portable.batched, portable.longest_text) == (True, PADDED_TO)
    check_profiles(EngineSettings(), portable, ServingConfig())
    with pytest.raises(PackageError, match="sequence goes from 1 to 24 tokens"):
        check_profiles(EngineSettings(axes={"sequence": (1, 16, 24)}), portable, ServingConfig())
