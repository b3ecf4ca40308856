"""Tiny models of each family through the whole packager: what is stored, and what other readers make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from model_packaging.build import PackageResult, package
from model_packaging.config import parse_config
from model_packaging.language import checks
from model_packaging.language.weights import Weights, open_weights
from spillway.contracts.manifest import PackageError, verify_package
from tests.model_packaging import tiny_language

pytestmark = pytest.mark.heavy

Built = Callable[[str, str], Path]
WITH_EXPERTS = ("qwen3-moe", "mixtral", "deepseek-v2", "deepseek-v3")
PRECISIONS: dict[str, dict[str, Any]] = {
    "bf16": {},
    "w8a16": {},
    "w4a16": {"group_size": 32},
    "fp8": {},
    "fp8-block": {},
}
BYTES = {"bf16": 2, "w8a16": 1, "w4a16": 0.5, "fp8": 1, "fp8-block": 1}
"""Of a quantized weight."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("families")
    for family in tiny_language.FAMILIES:
        tiny_language.write_family(root / family, family)
    return root


def build(folder: Path, store: Path, *variants: dict[str, Any], **changes: Any) -> PackageResult:
    return package(
        parse_config(tiny_language.settings(folder, variants=[*variants], **changes), base_dir=folder), store
    )


@pytest.fixture(scope="module")
def built(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """(family, precision) → the folder that is served, made when it is first asked for."""
    store = tmp_path_factory.mktemp("store")

    @cache
    def make(family: str, precision: str) -> Path:
        variant = {"precision": precision, "max_perplexity_ratio": 9, **PRECISIONS[precision]}
        result = build(models / family, store / family / precision, variant)
        verify_package(result.path)
        return result.path / "vllm"

    return make


def experts(weights: Weights) -> dict[str, int]:
    """Expert's layer → bytes of its numbers, scales aside."""
    return {
        name.rpartition(".")[0]: tensor.size_bytes
        for name, tensor in weights.tensors.items()
        if ".experts." in name and name.endswith(("weight", "weight_packed"))
    }


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", WITH_EXPERTS)
def test_every_expert_is_stored_by_its_name_and_at_its_width(
    models: Path, built: Built, family: str, precision: str
) -> None:
    """The names are the checkpoint's own, which are the Hub's, and the bytes those of the precision."""
    source, stored = open_weights(models / family), open_weights(built(family, precision))
    expected = {layer: size / 4 * BYTES[precision] for layer, size in experts(source).items()}
    assert len(expected) in (12, 24)
    assert experts(stored) == expected


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        *product(WITH_EXPERTS, ["w8a16", "w4a16", "fp8"]),
        *((family, "w8a16") for family in tiny_language.FAMILIES if family not in WITH_EXPERTS),
    ],
)
def test_two_readers_see_the_same_model(built: Built, tmp_path: Path, family: str, precision: str) -> None:
    """compressed-tensors unpacks each layer by itself, and transformers loads that as a plain model; beside it,
    transformers unpacks the package as it loads it. One multiplies in fp32 where the other takes the scale's bf16."""
    import torch

    folder = built(family, precision)
    plain = unpacked_by_compressed_tensors(folder, tmp_path / "plain")
    with (
        checks.loaded(plain, tmp_path, None) as expected,
        checks.loaded(folder, tmp_path, None, dequantize=True) as found,
    ):
        wanted = dict(expected.named_parameters())
        for name, parameter in found.named_parameters():
            assert torch.allclose(parameter, wanted[name], rtol=2**-8, atol=0), name


def unpacked_by_compressed_tensors(folder: Path, target: Path) -> Path:
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from safetensors.torch import load_file, save_file

    settings = json.loads((folder / "config.json").read_text())
    declared = settings.pop("quantization_config")
    scheme = QuantizationScheme(**declared["config_groups"]["group_0"])
    compressor: Any = BaseCompressor.get_value_from_registry(declared["format"])
    stored = load_file(folder / "model.safetensors")
    plain = {}
    for layer in [name.removesuffix(".weight_scale") for name in stored if name.endswith(".weight_scale")]:
        parts = {name.removeprefix(f"{layer}."): stored.pop(name) for name in [*stored] if name.startswith(f"{layer}.")}
        plain[f"{layer}.weight"] = compressor.decompress(parts, scheme)["weight"].float().contiguous()
    target.mkdir()
    save_file(plain | {name: tensor.float() for name, tensor in stored.items()}, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(settings))
    return target


@pytest.mark.parametrize("family", WITH_EXPERTS)
def test_blocks_are_those_that_transformers_unpacks(models: Path, built: Built, tmp_path: Path, family: str) -> None:
    """Each number within half a step of fp8, 1/16 of itself, of the original; transformers reads the scales."""
    import torch

    with (
        checks.loaded(models / family, tmp_path, None) as original,
        checks.loaded(built(family, "fp8-block"), tmp_path, None, dequantize=True) as found,
    ):
        wanted = dict(original.named_parameters())
        for name, parameter in found.named_parameters():
            least = 2**-7 * wanted[name].abs().max()
            assert torch.allclose(parameter, wanted[name], rtol=1 / 15, atol=float(least)), name


@pytest.mark.parametrize("family", ["mixtral", "deepseek-v3"])
def test_greedy_tokens_are_those_of_transformers(models: Path, built: Built, family: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    ids = torch.arange(2, 12)[None]
    answers = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
        )
        for folder in (models / family, built(family, "bf16"))
    ]
    assert torch.equal(*answers)


@pytest.mark.parametrize(("family", "precision"), [("llama", "bf16"), ("deepseek-v3", "w8a16")])
def test_a_model_that_does_not_fit_is_checked_from_disk(
    models: Path, tmp_path: Path, family: str, precision: str
) -> None:
    variant = {"precision": precision, "max_perplexity_ratio": 9}
    figures = []
    for name, memory in (("roomy", None), ("narrow", 0.0003)):
        values = tiny_language.settings(models / family, variants=[variant])
        values["checks"]["memory_gib"] = memory
        result = package(parse_config(values, base_dir=models), tmp_path / name)
        figures.append(
            [
                (found.variant, found.perplexity, found.top1, found.greedy_match, found.min_cosine)
                for found in result.manifest.language_figures
            ]
        )
    assert figures[0] == figures[1]


def test_what_latent_attention_and_routers_keep(built: Built) -> None:
    folder = built("deepseek-v3", "w4a16")
    stored = open_weights(folder)
    left_out = json.loads((folder / "config.json").read_text())["quantization_config"]["ignore"]
    for layer in ("model.layers.1.self_attn.kv_b_proj", "model.layers.1.mlp.gate"):
        assert stored.tensors[f"{layer}.weight"].dtype == "BF16"
        assert layer in left_out
    assert stored.tensors["model.layers.1.mlp.gate.e_score_correction_bias"].dtype == "F32"
    assert "model.layers.1.self_attn.q_a_proj.weight_packed" in stored.tensors


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"precision": "w8a8-int8"}, "transformers cannot read experts of this precision back"),
        ({"precision": "w4a16", "method": "gptq"}, "gptq sees only the tokens that reach an expert"),
        ({"precision": "fp8", "keep": [r"re:.*experts\.0\."]}, "keep all of them or none"),
        ({"precision": "fp8", "keep": ["re:.*q_a_proj"]}, "vLLM joins q_a_proj, kv_a_proj_with_mqa"),
    ],
)
def test_halves_are_refused(models: Path, tmp_path: Path, variant: dict[str, Any], message: str) -> None:
    calibration = {"text": str(tiny_language.CALIBRATION), "tokens": 64, "window": 32}
    with pytest.raises(PackageError, match=message):
        build(
            models / "deepseek-v3",
            tmp_path,
            {"max_perplexity_ratio": 9, **variant},
            calibration=calibration,
        )


def test_experts_of_one_tensor_are_refused(models: Path, tmp_path: Path) -> None:
    """As gpt-oss and Llama 4 are stored, and as transformers 5 holds every model with experts in memory."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(models / "qwen3-moe", tmp_path / "joined"))
    stored = load_file(folder / "model.safetensors")
    prefix = "model.layers.0.mlp.experts"
    joined = torch.stack([stored.pop(f"{prefix}.{number}.down_proj.weight") for number in range(4)])
    save_file(stored | {f"{prefix}.down_proj": joined}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PackageError, match=r"experts\.down_proj holds all experts in one tensor.*half quantized"):
        build(folder, tmp_path / "store", {"precision": "fp8", "max_perplexity_ratio": 9})


def test_prediction_layers_stay_and_stay_whole(models: Path, tmp_path: Path) -> None:
    """DeepSeek-V3's layer after the last: transformers has no class for it, vLLM's deepseek_mtp reads it by name."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(models / "deepseek-v3", tmp_path / "predicting"))
    stored = load_file(folder / "model.safetensors")
    own = {
        name.replace(".layers.1.", ".layers.2."): tensor.clone()
        for name, tensor in stored.items()
        if ".layers.1." in name
    }
    save_file(stored | own, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_nextn_predict_layers": 1}))
    vllm = {"max_model_len": 128, "speculative": {"method": "mtp", "tokens": 1}}
    result = build(folder, tmp_path / "store", {"precision": "fp8", "max_perplexity_ratio": 9}, vllm=vllm)
    served = open_weights(result.path / "vllm")
    assert {served.tensors[name].dtype for name in own} == {"BF16", "F32"}
    left_out = json.loads((result.path / "vllm" / "config.json").read_text())["quantization_config"]["ignore"]
    assert "model.layers.2.mlp.experts.3.up_proj" in left_out
