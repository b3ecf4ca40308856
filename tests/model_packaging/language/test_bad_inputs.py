"""What a language model's packaging refuses: each time one clear error, and nothing in the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from spillway.contracts.manifest import PackageError
from tests.model_packaging import tiny_language


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def attempt(folder: Path, store: Path, **changes: Any) -> None:
    package(parse_config(tiny_language.settings(folder, **changes), base_dir=folder), store)


def refused(folder: Path, message: str, **changes: Any) -> None:
    store = folder.parent / "store"
    with pytest.raises((PackageError, ModelConfigError), match=message):
        attempt(folder, store, **changes)
    assert not [path for path in store.rglob("*") if path.is_file() and path.name != ".lock"]


def nan_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def change_config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nan_weights, r"NaN or infinity in model\.layers\.1\.mlp\.up_proj\.weight"),
        (pickled, r"pytorch_model\.bin, a pickle.*weights: pickle"),
        (no_tokenizer, "no tokenizer"),
        (no_weights, "it holds no weights"),
        (cut_weights, r"model\.safetensors: holds \d+ bytes of weights, its header \d+: it was cut short"),
        (broken_config, r"config\.json: is not JSON"),
        (change_config(auto_map={"AutoModel": "x.y"}, model_type="own"), "auto_map asks for code"),
        (change_config(quantization_config={"quant_method": "awq"}), r"quantized already \(awq\).*as-is"),
        (change_config(model_type="no-such-model"), "transformers cannot load"),
        (change_config(architectures=["NoSuchForCausalLM"]), r"vLLM [\d.]+ has no class for it"),
    ],
    ids=["nan", "pickle", "tokenizer", "weights", "cut", "json", "code", "quantized", "unknown", "unserved"],
)
def test_damaged_folders(model: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(model)
    refused(model, message)


def test_pickle_is_read_when_it_is_asked_for_by_name(model: Path, tmp_path: Path) -> None:
    pickled(model)
    source = {"kind": "causal-lm", "path": str(model), "licence": "Apache-2.0", "weights": "pickle"}
    attempt(model, tmp_path / "store", source=source)
    assert list((tmp_path / "store").glob("tiny/*/vllm/model.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variants": [{"precision": "w4a16", "group_size": 128, "max_perplexity_ratio": 2}]},
            r"group_size 128 does not divide the 192 inputs of .*down_proj.*allowed here: 32, 64, none",
        ),
        (
            {"variants": [{"precision": "fp8", "group_size": 64, "max_perplexity_ratio": 2}]},
            "fp8 takes neither group_size nor method",
        ),
        (
            {"variants": [{"precision": "w8a16", "max_perplexity_ratio": 2, "keep": ["re:.*k_proj"]}]},
            "vLLM joins q_proj, k_proj, v_proj",
        ),
        (
            {"variants": [{"precision": "w8a16", "max_perplexity_ratio": 2, "keep": ["gate"]}]},
            "'gate' fits no linear layer",
        ),
        (
            {"variants": [{"precision": "w8a16", "max_perplexity_ratio": 2, "keep": ["re:.*"]}]},
            "no linear layer is left",
        ),
        (
            {"variants": [{"precision": "w4a16", "method": "gptq", "max_perplexity_ratio": 2}]},
            "real text, which is never made up",
        ),
        ({"serve": "fp8"}, "serve: fp8 is not among the variants"),
        ({"variants": []}, "variants"),
        ({"vllm": {"max_model_len": 4096}}, "up to the model's 256 positions"),
        ({"vllm": {"max_model_len": 128, "tensor_parallel_size": 3}}, "does not divide the 4 attention heads.*1, 2, 4"),
        ({"dtype": "int8"}, "dtype"),
        ({"name": "No Such"}, "name"),
    ],
)
def test_settings_that_cannot_work(model: Path, changes: dict[str, Any], message: str) -> None:
    refused(model, message, **changes)


@pytest.mark.parametrize("key", ["text", "prompts"])
@pytest.mark.parametrize(
    ("content", "message"), [(b" \n", "is empty"), (b"\xff\xfe\x00", "not UTF-8"), (None, "no such")]
)
def test_texts_are_real(model: Path, tmp_path: Path, key: str, content: bytes | None, message: str) -> None:
    path = tmp_path / "given.txt"
    if content is not None:
        path.write_bytes(content)
    checks = {**tiny_language.settings(model)["checks"], key: str(path)}
    refused(model, rf"checks\.{key}: .*given\.txt: .*{message}", checks=checks)


def test_short_texts_are_refused(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("Light.")
    checks = {**tiny_language.settings(model)["checks"], "text": str(path)}
    refused(model, "one window has 32", checks=checks)
    gptq = [{"precision": "w4a16", "method": "gptq", "max_perplexity_ratio": 2}]
    refused(model, r"calibration\.text: holds", variants=gptq, calibration={"text": str(path)})


def test_a_file_that_is_no_gguf(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not really")
    refused(
        model, "transformers cannot read it as GGUF", source={"kind": "causal-lm", "path": str(path), "licence": "x"}
    )


def test_a_path_that_leads_nowhere(model: Path) -> None:
    refused(model, "no such folder", source={"kind": "causal-lm", "path": "nowhere", "licence": "x"})
    source = {"kind": "causal-lm", "path": str(model / "config.json"), "licence": "x"}
    refused(model, r"a Hugging Face folder or a \.gguf file", source=source)


def test_weights_that_float16_cannot_hold(model: Path) -> None:
    """A norm a million times as large before layers a million times as small: the same model in fp32."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.0.input_layernorm.weight"] *= 1e6
    for name in ("q_proj", "k_proj", "v_proj"):
        tensors[f"model.layers.0.self_attn.{name}.weight"] /= 1e6
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    refused(model, r"input_layernorm\.weight holds numbers that float16 cannot", dtype="float16")
