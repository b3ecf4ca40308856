"""Language models, on a tiny Llama: what is written, what transformers makes of it again, and what servers read."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_packaging.build import PackageResult, package
from model_packaging.config import load_config, parse_config
from model_packaging.language.config import LanguageConfig
from spillway.contracts.manifest import PackageError, verify_package
from tests.model_packaging import tiny_language

pytestmark = pytest.mark.heavy

GPTQ = {"precision": "w4a16", "group_size": 32, "method": "gptq", "max_perplexity_ratio": 9}
EVERY = [
    {"precision": "bf16", "max_perplexity_ratio": 1.01},
    {"precision": "fp16", "max_perplexity_ratio": 1.01},
    {"precision": "w8a16", "max_perplexity_ratio": 1.05, "min_top1": 0.9},
    {"precision": "w4a16", "group_size": 64, "max_perplexity_ratio": 2},
    {"precision": "w8a8-int8", "max_perplexity_ratio": 1.1, "min_top1": 0.8},
    {"precision": "fp8", "max_perplexity_ratio": 1.1, "min_top1": 0.7},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")


def config(folder: Path, **changes: Any) -> LanguageConfig:
    found = parse_config(tiny_language.settings(folder, **changes), base_dir=folder)
    assert isinstance(found, LanguageConfig)
    return found


@pytest.fixture(scope="module")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> PackageResult:
    return package(config(model), tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("variant", EVERY, ids=[row["precision"] for row in EVERY])
def test_every_precision_loads_back_and_answers(model: Path, tmp_path: Path, variant: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = package(config(model, variants=[variant]), tmp_path)
    manifest = verify_package(result.path)
    assert (manifest.kind, manifest.served, manifest.entry_model) == ("vllm", {"vllm": variant["precision"]}, "tiny")
    assert manifest.language is not None
    assert manifest.language.chat_template
    (reference, figure) = manifest.language_figures
    assert figure.passed
    assert figure.perplexity is not None
    assert reference.perplexity is not None
    assert figure.perplexity_ratio == pytest.approx(figure.perplexity / reference.perplexity, abs=1e-4)

    folder = result.path / "vllm"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    prompt = tokenizer("Do not all fix'd Bodies", return_tensors="pt")
    answer = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).generate(
        **{key: prompt[key] for key in ("input_ids", "attention_mask")}, max_new_tokens=3, do_sample=False
    )
    assert answer.shape[1] > prompt["input_ids"].shape[1]


def test_stored_numbers_are_what_the_scheme_says(model: Path, tmp_path: Path) -> None:
    """Against the definition, by hand: int8 steps of a scale per row; the embeddings are not touched."""
    import torch
    from safetensors.torch import load_file

    variant = {"precision": "w8a8-int8", "max_perplexity_ratio": 2}
    result = package(config(model, variants=[variant], dtype="float16"), tmp_path)
    stored = load_file(result.path / "vllm" / "model.safetensors")
    source = load_file(model / "model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    weight, scale = source[f"{name}.weight"], stored[f"{name}.weight_scale"].float()
    assert stored[f"{name}.weight"].dtype == torch.int8
    assert torch.equal(stored[f"{name}.weight"].float(), (weight / scale).round().clamp(-128, 127))
    assert scale.flatten().tolist() == pytest.approx((weight.abs().amax(1) / 127.5).tolist(), rel=2e-3)
    assert torch.equal(stored["model.embed_tokens.weight"], source["model.embed_tokens.weight"].half())
    assert "lm_head.weight" not in stored


def test_inputs_are_quantized_when_it_is_checked(model: Path, tmp_path: Path) -> None:
    """Otherwise w8a8 would be judged by its weights alone."""
    import torch
    from transformers import AutoModelForCausalLM

    variant = {"precision": "w8a8-int8", "max_perplexity_ratio": 2}
    folder = package(config(model, variants=[variant]), tmp_path).path / "vllm"
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    with torch.no_grad():
        module(input_ids=torch.tensor([[2, 3, 4]]))
        layer = module.get_submodule("model.layers.0.mlp.down_proj")
        given = torch.randn(1, 5, layer.in_features)
        scale = given.abs().amax(-1, keepdim=True) / 127.5
        rounded = (given / scale).round().clamp(-128, 127) * scale
        assert torch.allclose(layer(given), rounded @ layer.weight.T, atol=1e-5)
        assert not torch.allclose(layer(given), given @ layer.weight.T, atol=1e-5)


def test_quantization_config_is_what_vllm_reads(model: Path, tmp_path: Path) -> None:
    """Keys of compressed-tensors 0.11, whose models refuse any other: the version that vLLM 0.11 pins."""
    variant = {"precision": "w4a16", "group_size": 64, "max_perplexity_ratio": 2, "keep": ["re:.*down_proj"]}
    folder = package(config(model, variants=[variant]), tmp_path).path / "vllm"
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert settings["quant_method"] == "compressed-tensors"
    assert settings["format"] == "pack-quantized"
    (group,) = settings["config_groups"].values()
    known = {"num_bits", "type", "symmetric", "group_size", "strategy", "dynamic"}
    assert group["weights"] == {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "group_size": 64,
        "strategy": "group",
        "dynamic": False,
    }
    assert set(group["weights"]) == known
    assert group["input_activations"] is None
    assert settings["ignore"] == [
        "lm_head",
        "model.layers.0.mlp.down_proj",
        "model.layers.1.mlp.down_proj",
    ]


def test_gptq_beats_rounding_on_what_it_saw(model: Path, tmp_path: Path) -> None:
    import torch

    from model_packaging.language import checkpoint, checks, gptq, source
    from model_packaging.language.variants.plan import plan

    settings = config(
        model, variants=[GPTQ], calibration={"text": str(tiny_language.CALIBRATION), "tokens": 512, "window": 64}
    )
    found = source.load(settings, tmp_path)
    steps = plan(settings.variants[0], found.weights, found.settings)
    windows = checks.text_windows(tiny_language.CALIBRATION.read_text(), found.tokenizer, 64, 512, "text")
    name = "model.layers.1.mlp.down_proj"
    seen: list[torch.Tensor] = []
    with checks.loaded(model, tmp_path, None) as module, torch.no_grad():
        rounded = gptq.rounded_weights(module, steps, windows, "float16")
        layer = module.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        module(input_ids=windows)
    weight = layer.get_parameter("weight").detach()
    scale = checkpoint.scales(weight, steps, "float16").float().repeat_interleave(32, dim=1)
    nearest = (weight / scale).round().clamp(-8, 7) * scale
    inputs = seen[0].flatten(0, 1)

    def error(of: torch.Tensor) -> float:
        return float((inputs @ (of - weight).T).square().mean())

    assert error(rounded[name]) < 0.9 * error(nearest)
    assert torch.equal((rounded[name] / scale).round() * scale, rounded[name])


def test_calibration_is_counted_and_hashed(model: Path, tmp_path: Path) -> None:
    calibration = {"text": str(tiny_language.CALIBRATION), "tokens": 512, "window": 64}
    result = package(config(model, variants=[GPTQ], calibration=calibration), tmp_path)
    assert result.manifest.served == {"vllm": "w4a16-gptq"}
    (data,) = result.manifest.provenance.calibration
    assert (data.name, data.samples) == ("calibration.txt", 8)
    assert len(data.sha256) == 64


def test_same_inputs_same_digest_and_a_cache_hit(model: Path, built: PackageResult, tmp_path: Path) -> None:
    again = package(config(model), tmp_path)
    assert not again.cached
    assert again.manifest.digest == built.manifest.digest
    hits = [package(config(model), tmp_path) for _ in range(3)]
    assert all(hit.cached for hit in hits)
    # The quickest: another process may have had the core in between.
    assert min(hit.seconds for hit in hits) < 0.2 * again.seconds


def test_a_variant_that_misses_its_bound_is_reported_and_left_out(model: Path, tmp_path: Path) -> None:
    impossible = {"precision": "w4a16", "max_perplexity_ratio": 5, "min_top1": 1}
    result = package(config(model, variants=[impossible, EVERY[2]]), tmp_path)
    assert result.manifest.served == {"vllm": "w8a16"}
    rows = {row["variant"]: row for row in result.table()}
    assert rows["w4a16"]["rank"] is None
    assert "top-1 agreement" in str(rows["w4a16"]["note"])
    assert (rows["w8a16"]["rank"], rows["w8a16"]["served"]) == (1, ["vllm"])
    assert rows["torch-fp32"]["ratio"] == 1.0


def test_smallest_is_served_unless_one_is_named(model: Path, tmp_path: Path) -> None:
    variants = [EVERY[0], EVERY[2], EVERY[3]]
    assert package(config(model, variants=variants), tmp_path).manifest.served == {"vllm": "w4a16"}
    assert package(config(model, variants=variants, serve="bf16"), tmp_path).manifest.served == {"vllm": "bf16"}


def test_no_variant_holds_and_nothing_is_left_behind(model: Path, tmp_path: Path) -> None:
    impossible = {"precision": "w4a16", "max_perplexity_ratio": 0.5}
    with pytest.raises(PackageError, match=r"No variant of tiny is as accurate as asked: w4a16: perplexity"):
        package(config(model, variants=[impossible]), tmp_path)
    assert {path.name for path in (tmp_path / "tiny").iterdir()} <= {".lock"}


def test_untied_head_stays_unquantized(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = tiny_language.write_model(tmp_path / "untied", tied=False)
    stored = load_file(package(config(folder), tmp_path / "store").path / "vllm" / "model.safetensors")
    assert stored["lm_head.weight"].is_floating_point()


def test_checksums_cover_the_folder(built: PackageResult) -> None:
    folder = built.path / "vllm"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}


def test_servers_find_their_settings(built: PackageResult) -> None:
    root = built.path
    arguments = yaml.safe_load((root / "vllm" / "vllm.yaml").read_text())
    assert arguments["max-model-len"] == 128
    assert arguments["served-model-name"] == "tiny"
    assert "quantization" not in arguments
    properties = dict(
        line.split("=", 1) for line in (root / "vllm" / "serving.properties").read_text().splitlines() if line
    )
    assert properties["engine"] == "Python"
    assert properties["option.tensor_parallel_degree"] == "1"
    assert properties["option.served_model_name"] == "tiny"
    assert "option.quantize" not in properties
    triton = json.loads((root / "triton_vllm" / "tiny" / "1" / "model.json").read_text())
    assert triton["max_model_len"] == 128
    assert 'backend: "vllm"' in (root / "triton_vllm" / "tiny" / "config.pbtxt").read_text()
    deployment = yaml.safe_load((root / "azureml" / "deployment.yaml").read_text())
    model = (root / "azureml" / deployment["model"]["path"]).resolve()
    assert model == (root / "vllm").resolve()
    dockerfile = root / "azureml" / deployment["environment"]["build"]["path"] / "Dockerfile"
    assert "$AZUREML_MODEL_DIR/vllm" in dockerfile.read_text()


def test_every_file_is_readable_by_servers(built: PackageResult) -> None:
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in built.path.rglob("*") if path.is_file())


def test_the_example_is_a_language_model() -> None:
    found = load_config(tiny_language.EXAMPLE / "model.yaml")
    assert isinstance(found, LanguageConfig)
    texts = [path.read_bytes() for path in (tiny_language.TEXT, tiny_language.CALIBRATION)]
    assert hashlib.sha256(texts[0]).digest() != hashlib.sha256(texts[1]).digest()
    assert texts[0][:2000] not in texts[1]
