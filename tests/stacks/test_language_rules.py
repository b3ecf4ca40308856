"""What a language model's package asks of GPUs, memory and engine, against what the stack gives.

Sizes are those of public models: R1-Distill-Llama-8B and -70B in bf16 (16.06 and 141.11 GB of safetensors), DeepSeek-V3
in fp8 (688.6 GB); GPUs and memory those of the providers' instance tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.manifest import LanguageServing, Manifest, PackageSource
from spillway.contracts.targets import Layout
from stacks.rules import problems_with_package
from stacks.sites import burst_sites
from stacks.stack_file import parse_settings
from tests.stacks.files import changed, example, flat

SMALL = {"weights_bytes": 16_060_000_000, "kv_bytes_per_token": 131_072, "kv_shards": 8}
LARGE = {"weights_bytes": 141_110_000_000, "kv_bytes_per_token": 327_680, "kv_shards": 8}
LATENT = {"weights_bytes": 688_600_000_000, "kv_bytes_per_token": 70_272, "kv_shards": 1}


def package(**serving: Any) -> Manifest:
    values = {
        "max_model_len": 8192,
        "max_num_seqs": 64,
        "tensor_parallel_size": 1,
        "dtype": "bfloat16",
        "quantization": "none",
        "scheme": "bf16",
        "tokenizer": "x",
        "vocabulary": 1,
        "chat_template": True,
        "engine": "0.30.0",
    }
    return Manifest(
        name="r1",
        version="",
        digest="",
        kind="vllm",
        entry_model="r1",
        served={Layout.VLLM: "as-is"},
        files=(),
        inputs=(),
        outputs=(),
        source=PackageSource(name="r1", origin="", licence="MIT"),
        language=LanguageServing(**{**values, **serving}),
    )


def told(manifest: Manifest, **changes: Any) -> dict[str, str]:
    """Key → message, of the rules about language models; SageMaker is the only burst site."""
    given = {f"spillway:{key.replace('__', '.')}": value for key, value in changes.items()}
    sagemaker = {"spillway:burst": {"sagemaker": {"instance_type": "ml.g5.xlarge", "asynchronous": None}}}
    settings = parse_settings(flat(changed(example("dev"), {**sagemaker, **given})))
    return {
        problem.key.removeprefix("spillway:"): str(problem)
        for problem in problems_with_package(settings, burst_sites(settings), manifest)
    }


def test_a_package_that_fits_is_not_mentioned() -> None:
    assert told(package(**SMALL), private_cluster__gpu_pool={"vm_size": "Standard_NC24ads_A100_v4"}) == {}
    assert told(package()) == {}, "nobody counted its weights"


@pytest.mark.parametrize(("name", "value"), [("tokens_per_minute", {"P2": 1000}), ("tokens_per_month", 10**9)])
def test_a_budget_of_tokens_needs_answers_that_count_them(name: str, value: Any) -> None:
    budget = {"gateway": {"anonymous": {name: value}}}
    key = f"gateway.anonymous.{name}"
    triton = package().model_copy(update={"kind": "triton", "language": None})
    assert "requests_per_s" in told(triton, **budget)[key]
    assert key not in told(package(), **budget)


@pytest.mark.parametrize(
    "sizes",
    [{"tensor_parallel_size": 4}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, {"data_parallel_size": 4}],
)
def test_four_gpus_are_not_one(sizes: dict[str, int]) -> None:
    """A package for four GPUs on servers of one, and on an instance of one."""
    found = told(package(**sizes))
    assert found.keys() == {"model_server.gpus", "burst.sagemaker.instance_type"}
    assert "given 1; one server of the package needs 4 GPUs" in found["model_server.gpus"]
    assert "this instance has 1; known there with as many:" in found["burst.sagemaker.instance_type"]
    assert "ml.g5.12xlarge" in found["burst.sagemaker.instance_type"]
    enough = {
        "model_server__gpus": 4,
        "burst": {"sagemaker": {"instance_type": "ml.g5.12xlarge", "asynchronous": None}},
    }
    assert told(package(**sizes), **enough) == {}


def test_the_endpoint_for_p2_is_asked_too() -> None:
    burst = {
        "sagemaker": {"instance_type": "ml.g5.12xlarge", "asynchronous": {"instance_type": "ml.g5.xlarge"}},
    }
    found = told(package(tensor_parallel_size=4), model_server__gpus=4, burst=burst)
    assert found.keys() == {"burst.sagemaker.asynchronous.instance_type"}


def test_sixteen_gigabytes_do_not_fit_a_t4() -> None:
    """Nor do they with the KV cache of a long request fit an A10G, which holds the weights."""
    t4 = told(package(**SMALL))
    assert "each GPU would hold 16.0 GiB" in t4["private_cluster.gpu_pool.vm_size"]
    assert "90% of 15.0 GiB" in t4["private_cluster.gpu_pool.vm_size"]
    assert "burst.sagemaker.instance_type" not in t4
    long = told(package(**SMALL, max_model_len=131_072))
    assert "each GPU would hold 31.0 GiB" in long["burst.sagemaker.instance_type"]
    half = told(package(**{**SMALL, "kv_bytes_per_token": 32_768}, max_model_len=131_072))
    assert "burst.sagemaker.instance_type" not in half


@pytest.mark.parametrize(
    ("instance", "sizes", "fits"),
    [
        ("ml.p4d.24xlarge", {**LARGE, "tensor_parallel_size": 8}, True),
        ("ml.g5.48xlarge", {**LARGE, "tensor_parallel_size": 8}, True),
        ("ml.g5.48xlarge", {**LARGE, "tensor_parallel_size": 8, "max_model_len": 65_536}, True),
        ("ml.g5.48xlarge", {**LARGE, "tensor_parallel_size": 8, "max_model_len": 131_072}, False),
        ("ml.g5.48xlarge", {**LARGE, "tensor_parallel_size": 8, "max_model_len": 65_536, "kv_shards": 2}, False),
        ("ml.p5.48xlarge", {**LATENT, "tensor_parallel_size": 8}, False),
        ("ml.g6.48xlarge", {**SMALL, "data_parallel_size": 8, "max_model_len": 131_072}, False),
    ],
)
def test_weights_and_kv_are_shared_as_vllm_shares_them(instance: str, sizes: dict[str, Any], fits: bool) -> None:
    """KV by its heads, latent KV not at all, copies by nothing. DeepSeek-V3 needs 80 GiB a GPU on eight: an H200."""
    burst = {"sagemaker": {"instance_type": instance, "asynchronous": None}}
    found = told(package(**sizes), model_server__gpus=8, private_cluster__gpu_pool={}, burst=burst)
    assert ("burst.sagemaker.instance_type" not in found) is fits


def test_an_older_engine_does_not_know_the_arguments() -> None:
    found = told(package(), model_server__vllm_image="registry.example.com:5000/vllm/vllm-openai:v0.11.0@sha256:0")
    assert "arguments are those of vLLM 0.30.0" in found["model_server.vllm_image"]
    assert told(package(), model_server__vllm_image="vllm/vllm-openai:v0.31.1-cu130") == {}
    assert told(package(), model_server__vllm_image="registry.example.com/own@sha256:0") == {}


def test_an_autoscalers_target_is_below_what_the_gateways_let_through() -> None:
    key = "model_server.autoscaling.kv_cache_percent"
    assert "fill 90 % of the caches" in told(package(), **{key.replace(".", "__"): 90})[key]
    assert "fill 70 % of the caches" in told(package(), gateway__kv_cache_percent=70)[key]
    assert told(package(), gateway__kv_cache_percent=81) == {}


KV = "model_server.kv_tiers.memory"


def test_kv_tiers_are_one_connectors() -> None:
    tiers: dict[str, Any] = {"model_server__kv_tiers": {"memory": "8Gi", "disk": "100Gi"}}
    assert told(package(), **tiers) == {}
    assert "--kv-offloading-size already" in told(package(arguments={"kv-offloading-size": 4}), **tiers)[KV]
    assert "no KV beside" in told(package(), **tiers, model_server__gpus=0)[KV]
    triton = package().model_copy(update={"kind": "triton", "language": None})
    assert "sampled" in told(package(), gateway__cache={"ttl_s": 60})["gateway.cache"]
    found = told(triton, **tiers, gateway={"prefix_affinity_percent": 150})
    assert {KV, "gateway.prefix_affinity_percent"} < found.keys()
    assert "only packages for vLLM" in found[KV]


def test_amd_gpus_want_an_image_of_their_own() -> None:
    amd = {
        "private_cluster__accelerator": "amd",
        "private_cluster__gpu_pool": {"vm_size": "Standard_ND96isr_MI300X_v5"},
    }
    assert "vllm-openai-rocm" in told(package(), **amd)["model_server.vllm_image"]
    assert told(package(), **amd, model_server__vllm_image="docker.io/vllm/vllm-openai-rocm:v0.30.0") == {}


def test_other_packages_are_not_asked(tmp_path: Path) -> None:
    assert told(package().model_copy(update={"language": None})) == {}
