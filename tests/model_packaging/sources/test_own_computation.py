"""A package answers as the library does that its folder is made for: transformers, or sentence-transformers, asked for
one text alone. No figure here comes from the packager."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from model_packaging.tensors.source import load
from spillway.contracts.manifest import PackageError, read_manifest
from tests.model_packaging.tiny_texts import (
    SENTENCES,
    packaged,
    save_sentence_transformer,
    save_tokenizer,
    served,
    settings,
)

pytestmark = pytest.mark.heavy

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4}


def classifier(folder: Path, family: str, **changes: Any) -> None:
    """A decoder with a head over three classes; its padding token is the last of the vocabulary, 0 is a word."""
    import torch
    import transformers

    size, pad = save_tokenizer(folder, last="<|endoftext|>")
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_key_value_heads": 4, **SIZES}
    if family == "GPT2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    torch.manual_seed(0)
    values = {"vocab_size": size, "num_labels": 3, "pad_token_id": pad, **sizes, **changes}
    config = getattr(transformers, f"{family}Config")(**values)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    with torch.no_grad():
        model.score.weight.mul_(20)
    model.save_pretrained(folder)


def of_transformers(folder: Path, text: str) -> np.ndarray:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = (kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForSequenceClassification))
    with torch.no_grad():
        return model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].numpy()


@pytest.mark.parametrize("family", ["GPT2", "Llama", "Mistral"])
def test_a_decoder_s_classes_are_transformers_own(family: str, tmp_path: Path) -> None:
    """Its head reads the last token that is no padding: filled up with a word, it reads that word."""
    folder = tmp_path / "tickets"
    classifier(folder, family)
    built = packaged(folder, task="classification", max_length=64)
    want = np.array([of_transformers(folder, text) for text in SENTENCES])
    alone = np.concatenate([served(built, [text]) for text in SENTENCES])
    together = served(built, list(SENTENCES))
    for got in (alone, together):
        assert (got.argmax(1) == want.argmax(1)).all()
        assert np.allclose(got, want, atol=1e-3 * np.abs(want).max())
    assert "transformers" in read_manifest(built).source.reference


def test_a_classifier_that_names_no_padding_is_refused(tmp_path: Path) -> None:
    classifier(tmp_path / "tickets", "Llama", pad_token_id=None)
    with pytest.raises(PackageError, match=r"config\.json: no pad_token_id.*takes one text at a time"):
        packaged(tmp_path / "tickets", task="classification")


def dense(inside: int, outside: int, activation: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    import torch

    values = {"in_features": inside, "out_features": outside, "bias": True, "activation_function": activation}
    generator = torch.Generator().manual_seed(3)
    weights = {
        "linear.weight": torch.randn(outside, inside, generator=generator) / 7,
        "linear.bias": torch.randn(outside, generator=generator),
    }
    return "Dense", values, weights


def pooling(*modes: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """As folders say it: a flag for each mode, by its old name."""
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    return "Pooling", {"word_embedding_dimension": 32, **{f"pooling_mode_{name}": name in modes for name in names}}, {}


def layer_norm(size: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
    import torch

    return (
        "LayerNorm",
        {"dimension": size},
        {"norm.weight": torch.linspace(0.5, 2, size), "norm.bias": torch.ones(size)},
    )


@pytest.mark.parametrize(
    ("modes", "behind", "width"),
    [
        (("cls_token",), [("dense", 32, 16, "torch.nn.modules.activation.Tanh")], 16),
        (("lasttoken",), [("layer_norm", 32), ("Normalize",)], 32),
        (("max_tokens", "mean_tokens"), [("dense", 64, 8, "torch.nn.modules.linear.Identity")], 8),
        (("weightedmean_tokens",), [], 32),
    ],
    ids=["cls and dense", "last token", "two poolings", "weighted mean"],
)
def test_vectors_are_sentence_transformers_own(
    modes: tuple[str, ...], behind: list[tuple[Any, ...]], width: int, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    makers = {"dense": dense, "layer_norm": layer_norm}
    folder = tmp_path / "parcels"
    modules = [makers[name](*values) if name in makers else (name, {}, {}) for name, *values in behind]
    save_sentence_transformer(folder, pooling(*modes), *modules)
    built = packaged(folder)
    library = SentenceTransformer(str(folder), device="cpu")
    want = np.array([library.encode(text) for text in SENTENCES])
    assert want.shape == (len(SENTENCES), width)
    assert np.ptp(want, axis=0).max() > 0.05, "the answers differ, so that a mix-up would show"
    alone = np.concatenate([served(built, [text]) for text in SENTENCES])
    for got in (alone, served(built, list(SENTENCES))):
        assert np.allclose(got, want, atol=1e-4)
    assert "sentence-transformers" in read_manifest(built).source.reference


def refused(folder: Path, **source: Any) -> str:
    with pytest.raises((PackageError, ModelConfigError)) as refusal:
        load(parse_config(settings(folder, **source), base_dir=folder.parent))  # pyright: ignore[reportArgumentType]
    return str(refusal.value)


def test_what_is_not_understood_or_contradicted_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "parcels"
    save_sentence_transformer(folder, pooling("cls_token"))
    assert "modules.json says cls (Transformer, Pooling): leave the key out" in refused(folder, pooling="mean")
    assert "source.normalise: True, and" in refused(folder, normalise=True)

    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert "puts the prompt 'query' before each text" in refused(folder)

    rows = json.loads((folder / "modules.json").read_text())
    rows[1]["type"] = "sentence_transformers.models.WeightedLayerPooling"
    (folder / "modules.json").write_text(json.dumps(rows))
    assert "WeightedLayerPooling cannot be packaged" in refused(folder)

    (folder / "modules.json").unlink()
    assert "has no modules.json that says how tokens become one vector: give pooling (mean" in refused(folder)
    assert "source.normalise: " in refused(folder, pooling="cls")


def test_a_tokenizer_that_servers_would_not_have_is_refused(tmp_path: Path) -> None:
    """tokenizer_config.json may change what transformers makes of tokenizer.json, which is all that servers read."""
    folder = tmp_path / "parcels"
    save_sentence_transformer(folder, pooling("cls_token"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncation_side": "left"}))
    assert "servers have that file alone" in refused(folder, max_length=8)
