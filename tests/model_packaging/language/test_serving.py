"""The ``vllm:`` block of model.yaml: what it allows, and the one list of arguments that every site gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from model_packaging.build import PackageResult, package
from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from spillway.contracts import vllm_options
from spillway.contracts.manifest import PackageError, verify_package
from tests.model_packaging import tiny_language

LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "llama", tied=False)


def adapter(folder: Path, rank: int = 20, width: int = 128, layer: str = LAYER, **config: Any) -> Path:
    """A LoRA adapter as peft saves it."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 8} | config))
    matrices = {"lora_A": np.zeros((rank, width), np.float32), "lora_B": np.zeros((128, rank), np.float32)}
    stored = {f"base_model.model.{layer}.{side}.weight": matrix for side, matrix in matrices.items()}
    save_file(stored, folder / "adapter_model.safetensors")
    return folder


def settings(folder: Path, **vllm: Any) -> dict[str, Any]:
    source = {"kind": "causal-lm", "path": str(folder), "licence": "MIT", "weights": "as-is"}
    return {"name": "tiny", "source": source, "vllm": {"max_model_len": 128, **vllm}}


def build(folder: Path, store: Path, **vllm: Any) -> PackageResult:
    return package(parse_config(settings(folder, **vllm), base_dir=folder), store)


@pytest.fixture(scope="module")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> PackageResult:
    root = tmp_path_factory.mktemp("parts")
    (root / "template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    return build(
        model,
        root / "store",
        max_num_seqs=16,
        max_concurrency=48,
        slots=12,
        prefill={"tokens_per_s": 12_000, "within_s": 20},
        tensor_parallel_size=2,
        kv_cache_dtype="fp8",
        tool_parser="llama3_json",
        reasoning_parser="deepseek_r1",
        chat_template=str(root / "template.jinja"),
        speculative={"method": "ngram", "tokens": 4, "options": {"prompt_lookup_max": 3}},
        adapters=[{"name": "sql", "path": str(adapter(root / "sql")), "licence": "MIT"}],
        extra={"enable-prefix-caching": False, "max-num-batched-tokens": 4096},
    )


ARGUMENTS = {
    "served-model-name": "tiny",
    "dtype": "bfloat16",
    "max-model-len": 128,
    "max-num-seqs": 16,
    "tensor-parallel-size": 2,
    "gpu-memory-utilization": 0.9,
    "scheduling-policy": "priority",
    "max-num-queued-reqs": 48,
    "max-num-queued-tokens": 240_000,
    "kv-cache-dtype": "fp8",
    "enable-auto-tool-choice": True,
    "tool-call-parser": "llama3_json",
    "reasoning-parser": "deepseek_r1",
    "speculative-config": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3},
    "enable-lora": True,
    "max-loras": 1,
    "max-lora-rank": 32,
    "lora-modules": [{"name": "sql", "path": "{folder}/adapters/sql"}],
    "enable-prefix-caching": False,
    "max-num-batched-tokens": 4096,
}


def test_the_manifest_holds_the_arguments(built: PackageResult) -> None:
    language = verify_package(built.path).language
    assert language is not None
    assert language.arguments == ARGUMENTS
    assert (language.engine, language.gpus) == (vllm_options.engine_version(), 2)
    assert (language.kv_bytes_per_token, language.kv_shards) == (2 * 2 * 2 * 32, 2)


def test_every_argument_is_one_of_vllms(built: PackageResult) -> None:
    known = vllm_options.table()["options"]
    assert [name for name in ARGUMENTS if name not in known] == []


def test_each_sites_form_says_the_same(built: PackageResult) -> None:
    root = built.path
    assert vllm_options.command_line(ARGUMENTS, "/models")[:4] == ["--served-model-name", "tiny", "--dtype", "bfloat16"]
    by_hand = yaml.safe_load((root / "vllm" / "vllm.yaml").read_text())
    assert by_hand.pop("lora-modules") == ['{"name": "sql", "path": "./adapters/sql"}']
    assert by_hand == {name: value for name, value in ARGUMENTS.items() if name != "lora-modules"}
    lmi = (root / "vllm" / "serving.properties").read_text().splitlines()
    assert "option.tool_call_parser=llama3_json" in lmi
    assert "option.enable_prefix_caching=false" in lmi
    assert 'option.lora_modules=[{"name": "sql", "path": "/opt/ml/model/adapters/sql"}]' in lmi
    triton = json.loads((root / "triton_vllm" / "tiny" / "1" / "model.json").read_text())
    assert triton["speculative_config"]["method"] == "ngram"
    assert not {"tool_call_parser", "max_num_queued_reqs", "max_num_queued_tokens"} & triton.keys()
    assert "cd " in (root / "azureml" / "environment" / "Dockerfile").read_text()


def test_what_the_arguments_speak_of_is_in_the_package(built: PackageResult) -> None:
    files = {file.path for file in built.manifest.files}
    assert {f"vllm/adapters/sql/adapter_{name}" for name in ("config.json", "model.safetensors")} <= files
    assert (built.path / "vllm" / "chat_template.jinja").read_text().startswith("{% for m in messages")
    assert "adapters/sql/adapter_model.safetensors" in (built.path / "vllm" / "SHA256SUMS").read_text()


def test_another_adapter_is_another_package(model: Path, tmp_path: Path) -> None:
    """Everything that is served is in the key of the build."""
    folder = adapter(tmp_path / "sql")
    listed = [{"name": "sql", "path": str(folder), "licence": "MIT"}]
    first = build(model, tmp_path / "store", adapters=listed)
    assert build(model, tmp_path / "store", adapters=listed).cached
    stored = {f"base_model.model.{LAYER}.lora_A.weight": np.ones((20, 128), np.float32)}
    save_file(stored, folder / "adapter_model.safetensors")
    second = build(model, tmp_path / "store", adapters=listed)
    assert not second.cached
    assert second.manifest.digest != first.manifest.digest


@pytest.mark.parametrize(
    ("vllm", "message"),
    [
        ({"tool_parser": "lama3_json"}, "did you mean llama3_json"),
        ({"reasoning_parser": "deepseek-r1"}, "did you mean deepseek_r1"),
        ({"kv_cache_dtype": "fp6"}, "knows auto, float16"),
        ({"speculative": {"method": "ngam", "tokens": 2}}, "did you mean ngram"),
        ({"speculative": {"method": "eagle3", "tokens": 2}}, "eagle3 needs a draft model"),
        ({"speculative": {"method": "ngram", "tokens": 2, "path": "x"}}, "ngram takes no draft model"),
        ({"max_concurrency": 80}, "64 slots and 96 in one batch of all copies; give at least 96"),
        ({"extra": {"max-num-queued-tokens": 1}}, r"this is vllm\.prefill"),
        ({"extra": {"max-model-len": 1}}, r"this is vllm\.max_model_len"),
        ({"extra": {"max_num_batched_tokens": 1}}, "did you mean max-num-batched-tokens"),
        ({"extra": {"max-num-batched-tokens": "many"}}, "takes int"),
        ({"extra": {"trust-remote-code": True}}, "runs code of the model's"),
        ({"extra": {"port": 80}}, "each site's"),
        ({"extra": {"quantization": "fp8"}}, "in config.json"),
    ],
)
def test_keys_that_vllm_would_refuse(model: Path, vllm: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelConfigError, match=message):
        parse_config(settings(model, **vllm), base_dir=model)


def test_adapters_have_names_of_their_own(model: Path) -> None:
    twice = [{"name": "sql", "path": "a", "licence": "MIT"}, {"name": "sql", "path": "b", "licence": "MIT"}]
    with pytest.raises(ModelConfigError, match="a name of its own"):
        parse_config(settings(model, adapters=twice), base_dir=model)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": "model.layers.7.self_attn.q_proj"}, "the model has no layer model.layers.7.self_attn.q_proj"),
        ({"width": 96}, "has 96 numbers where .* has 128"),
        ({"rank": 600}, "rank 600; vLLM takes up to 512"),
        ({"peft_type": "IA3"}, "is no LoRA's: peft_type 'IA3'"),
    ],
)
def test_adapters_of_another_model(model: Path, tmp_path: Path, given: dict[str, Any], message: str) -> None:
    listed = [{"name": "sql", "path": str(adapter(tmp_path / "sql", **given)), "licence": "MIT"}]
    with pytest.raises(PackageError, match=message):
        build(model, tmp_path / "store", adapters=listed)


@pytest.mark.parametrize(
    ("vllm", "message"),
    [
        ({"expert_parallel": True}, "the model has no experts"),
        ({"speculative": {"method": "mtp", "tokens": 1}}, "no layers that predict further tokens"),
        ({"pipeline_parallel_size": 3}, "the model has 2 layers"),
        ({"tensor_parallel_size": 3}, "does not divide the 4 attention heads"),
        ({"max_model_len": 512}, "up to the model's 256 positions"),
        ({"chat_template": "nowhere.jinja"}, r"vllm\.chat_template: .*no such file"),
        ({"adapters": [{"name": "sql", "path": "nowhere", "licence": "MIT"}]}, "no such folder"),
    ],
)
def test_what_does_not_fit_the_model(model: Path, tmp_path: Path, vllm: dict[str, Any], message: str) -> None:
    with pytest.raises((PackageError, ModelConfigError), match=message):
        build(model, tmp_path / "store", **vllm)


def test_a_scaled_context_is_written_where_vllm_looks(tmp_path: Path) -> None:
    folder = tiny_language.write_model(tmp_path / "yarn")
    path = folder / "config.json"
    yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 256}
    path.write_text(json.dumps({**json.loads(path.read_text()), "rope_parameters": yarn}))
    result = build(folder, tmp_path / "store", max_model_len=1024)
    assert json.loads((result.path / "vllm" / "config.json").read_text())["max_position_embeddings"] == 1024
    with pytest.raises(PackageError, match="up to the model's 1024 positions"):
        build(folder, tmp_path / "store", max_model_len=1025)
