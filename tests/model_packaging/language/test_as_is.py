"""Checkpoints that are packaged as they came: verified, hashed, described, laid out, never loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from model_packaging.build import PackageResult, package
from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from spillway.contracts.manifest import PackageError, verify_package
from tests.model_packaging import tiny_language

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as AWQ stores it. The numbers are noise, NaN among them: nobody looks at them."""
    folder = tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "llama-awq", tied=False)
    rng = np.random.default_rng(0)
    stored: dict[str, np.ndarray] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if "_proj." not in name:
            stored[name] = tensor.astype(np.float16)
            continue
        columns, rows = tensor.shape
        layer = name.removesuffix(".weight")
        stored[f"{layer}.qweight"] = rng.integers(-(2**31), 2**31, (rows, columns // 8), dtype=np.int32)
        stored[f"{layer}.qzeros"] = rng.integers(-(2**31), 2**31, (rows // 64, columns // 8), dtype=np.int32)
        stored[f"{layer}.scales"] = np.full((rows // 64, columns), np.nan, dtype=np.float16)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, quantization_config=AWQ, torch_dtype="float16", dtype="float16", auto_map={"AutoModel": "own.Code"})
    (folder / "own.py").write_text("raise SystemExit('this is never run')\n")
    return folder


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    source = {"kind": "causal-lm", "path": str(folder), "licence": "MIT", "weights": "as-is"}
    return {"name": "tiny", "source": source, "vllm": {"max_model_len": 128}} | changes


def build(folder: Path, store: Path, **changes: Any) -> PackageResult:
    return package(parse_config(settings(folder, **changes), base_dir=folder), store)


@pytest.fixture(scope="module")
def built(original: Path, tmp_path_factory: pytest.TempPathFactory) -> PackageResult:
    return build(original, tmp_path_factory.mktemp("store"))


def test_the_weights_are_the_very_bytes(original: Path, built: PackageResult) -> None:
    manifest = verify_package(built.path)
    assert manifest.served == {"vllm": "as-is"}
    sums = {file.path: file.sha256 for file in manifest.files}
    assert sums["vllm/model.safetensors"] == hashlib.sha256((original / "model.safetensors").read_bytes()).hexdigest()
    assert "vllm/tokenizer.json" in sums
    assert manifest.source.reference == "none: laid out as it came"
    assert manifest.language_figures == ()


def test_the_manifest_says_what_it_is(built: PackageResult) -> None:
    manifest = built.manifest
    assert manifest.language is not None
    assert (manifest.language.quantization, manifest.language.dtype) == ("awq", "float16")
    (figure,) = manifest.variants
    assert figure.precision == "awq"
    assert figure.detail == "awq 4 bits, 14 layers, as it came"
    assert manifest.language.weights_bytes == figure.size_bytes
    (row,) = built.table()
    assert (row["variant"], row["perplexity"], row["served"]) == ("as-is", None, ["vllm"])


def test_code_of_the_models_own_stays_behind(built: PackageResult) -> None:
    """transformers and vLLM have the class; the key alone would make them ask for trust in remote code."""
    served = json.loads((built.path / "vllm" / "config.json").read_text())
    assert "auto_map" not in served
    assert served["quantization_config"] == AWQ
    assert not list(built.path.rglob("*.py"))


def gptq(name: str, columns: int, rows: int) -> dict[str, torch.Tensor]:
    """AutoGPTQ's: eight rows in a number."""
    return {
        f"{name}.qweight": torch.zeros(rows // 8, columns, dtype=torch.int32),
        f"{name}.qzeros": torch.zeros(rows // 64, columns // 8, dtype=torch.int32),
        f"{name}.scales": torch.zeros(rows // 64, columns, dtype=torch.float16),
        f"{name}.g_idx": torch.zeros(rows, dtype=torch.int32),
    }


def nvfp4(name: str, columns: int, rows: int) -> dict[str, torch.Tensor]:
    """ModelOpt's: two fp4 numbers in a byte, an fp8 scale for sixteen, and one for all."""
    return {
        f"{name}.weight": torch.zeros(columns, rows // 2, dtype=torch.uint8),
        f"{name}.weight_scale": torch.zeros(columns, rows // 16).to(torch.float8_e4m3fn),
        f"{name}.weight_scale_2": torch.zeros(()),
        f"{name}.input_scale": torch.zeros(()),
    }


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": True}
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]}


@pytest.mark.parametrize(
    ("layers", "declared", "method", "words"),
    [
        (gptq, GPTQ, "gptq", "gptq 4 bits, 14 layers, as it came"),
        (nvfp4, NVFP4, "modelopt", "modelopt NVFP4, 14 layers, as it came"),
    ],
    ids=["gptq", "nvfp4"],
)
def test_other_formats_are_laid_out_and_told(
    tmp_path: Path, layers: Any, declared: dict[str, Any], method: str, words: str
) -> None:
    folder = tiny_language.write_model(tmp_path / "model", tied=False)
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in load_tensors(folder / "model.safetensors").items():
        whole = {name: tensor.to(torch.bfloat16)}
        stored |= layers(name.removesuffix(".weight"), *tensor.shape) if "_proj." in name else whole
    save_tensors(stored, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, quantization_config=declared, torch_dtype="bfloat16", dtype="bfloat16")
    result = build(folder, tmp_path / "store")
    manifest = verify_package(result.path)
    assert manifest.language is not None
    assert (manifest.language.quantization, manifest.variants[0].detail) == (method, words)
    assert manifest.language.weights_bytes == sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
    served = json.loads((result.path / "vllm" / "config.json").read_text())
    assert served["quantization_config"] == declared


def half_quantized(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    for part in ("qweight", "qzeros", "scales"):
        stored.pop(f"model.layers.1.mlp.down_proj.{part}")
    stored["model.layers.1.mlp.down_proj.weight"] = np.zeros((128, 192), dtype=np.float16)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def index_of_another(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    listed = dict.fromkeys(stored, "model.safetensors") | {"model.layers.9.mlp.up_proj.weight": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))


def two_files(folder: Path) -> None:
    shutil.copyfile(folder / "model.safetensors", folder / "model-00002.safetensors")


def no_declaration(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values.pop("quantization_config")
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (half_quantized, r"half quantized: model\.layers\.1\.mlp\.down_proj is stored as F16"),
        (cut, "it was cut short"),
        (index_of_another, r"model\.layers\.9\.mlp\.up_proj\.weight .* is in no file"),
        (two_files, "is in model-00002.safetensors, too"),
        (no_declaration, "config.json has no quantization_config"),
        (lambda folder: change(folder, quantization_config={"quant_method": "quip"}), "known here"),
        (lambda folder: change(folder, architectures=["OwnForCausalLM"]), "has no class for it"),
        (lambda folder: change(folder, model_type="own"), "auto_map asks for code"),
    ],
    ids=["half", "cut", "index", "twice", "undeclared", "unknown", "unserved", "code"],
)
def test_what_would_not_serve_is_refused(model: Path, tmp_path: Path, damage: Any, message: str) -> None:
    damage(model)
    with pytest.raises(PackageError, match=message):
        build(model, tmp_path / "store")
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": [{"precision": "fp8", "max_perplexity_ratio": 1.1}]}, "makes no variants; remove variants"),
        ({"checks": tiny_language.settings(Path())["checks"]}, "makes no variants; remove checks"),
        ({"serve": "fp8"}, "makes no variants; remove serve"),
        ({"source": {"kind": "causal-lm", "path": "x", "licence": "MIT"}}, "variants: needed, unless"),
    ],
)
def test_there_is_nothing_to_vary(original: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelConfigError, match=message):
        parse_config(settings(original, **changes), base_dir=original)
