"""The example of a reasoning model on four GPUs: its model.yaml and its stack file, held against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from model_packaging.build import package
from model_packaging.config import parse_config
from policies.judge import judge
from spillway.contracts.classes import Site
from spillway.contracts.gpus import MEMORY_MIB
from spillway.contracts.manifest import Manifest, read_manifest
from spillway.contracts.routing import Gate, RoutingTable
from spillway.twin.deployer.policy import plain_resources
from stacks.rules import problems_with_package
from stacks.sites import burst_sites
from stacks.stack_file import parse_settings, policy_context
from tests.model_packaging import tiny_language
from tests.model_packaging.packages import reseal
from tests.program.site import Found, plain
from tests.stacks.files import changed, example, flat
from tests.support.paths import ROOT
from tests.support.plans import preview

MODEL_YAML = ROOT / "model_packaging" / "examples" / "deepseek" / "model.yaml"
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"]},
}
"""What counts of the model's own config.json, at huggingface.co/RedHatAI/DeepSeek-R1-Distill-Llama-70B-FP8-dynamic."""
WEIGHTS_BYTES = 72_676_000_000
"""Of its 15 files."""


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's package, of a checkpoint with the model's config.json and one layer's weights."""
    root = tmp_path_factory.mktemp("deepseek")
    (root / "weights").mkdir()
    tiny_language.write_tokenizer(root / "weights")
    (root / "weights" / "config.json").write_text(json.dumps(CONFIG))
    layer = "model.layers.0.self_attn.q_proj"
    stored = {f"{layer}.weight": np.zeros((8, 8), np.int8), f"{layer}.weight_scale": np.ones((8, 1), np.float32)}
    save_file(stored, root / "weights" / "model.safetensors")
    values = yaml.safe_load(MODEL_YAML.read_text(encoding="utf-8"))
    path = package(parse_config(values, base_dir=root), root / "store").path
    language = read_manifest(path).language
    assert language is not None
    return reseal(path, language=language.model_copy(update={"weights_bytes": WEIGHTS_BYTES}))


@pytest.fixture(scope="module")
def manifest(packaged: Path) -> Manifest:
    return read_manifest(packaged)


def told(manifest: Manifest, **changes: Any) -> list[str]:
    given = {f"spillway:{key.replace('__', '.')}": value for key, value in changes.items()}
    settings = parse_settings(flat(changed(example("deepseek"), given)))
    return [problem.key for problem in problems_with_package(settings, burst_sites(settings), manifest)]


def test_every_site_can_start_a_server(manifest: Manifest) -> None:
    assert told(manifest) == []


def test_the_size_is_no_accident(manifest: Manifest) -> None:
    """Half the GPUs, the next smaller GPU, and the model's whole context in bf16 would each not do."""
    assert told(manifest, model_server__gpus=2) == ["spillway:model_server.gpus"]
    small = {"sagemaker": {"instance_type": "ml.g6.12xlarge", "asynchronous": None}}
    assert told(manifest, burst=small) == []
    language = manifest.language
    assert language is not None
    whole = language.model_copy(update={"max_model_len": 131_072})
    assert told(manifest.model_copy(update={"language": whole}), burst=small) == [
        "spillway:burst.sagemaker.instance_type"
    ]


@pytest.fixture(scope="module")
def planned(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    zones = [f"us-east-1{letter}" for letter in "abc"]
    config = changed(
        example("deepseek"), {"spillway:package.path": str(packaged), "spillway:connectivity.zones": zones}
    )
    return Found(preview(tmp_path_factory.mktemp("project"), config).resources)


@pytest.mark.heavy
def test_every_site_starts_vllm_with_the_packages_arguments(planned: Found, manifest: Manifest) -> None:
    assert manifest.language is not None
    (template,) = (
        plain(resource.inputs)["spec"]["template"]["spec"]
        for resource in planned.of("kubernetes:apps/v1:Deployment")
        if resource.name.endswith("model-server-deployment")
    )
    (server,) = (one for one in template["containers"] if one["command"][:2] == ["vllm", "serve"])
    command = server["command"]
    assert command[command.index("--tensor-parallel-size") + 1] == "4"
    assert command[command.index("--reasoning-parser") + 1] == "deepseek_r1"
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "4"
    container = planned.inputs("aws:sagemaker/model:Model")["primaryContainer"]["environment"]
    assert container["SM_VLLM_TENSOR_PARALLEL_SIZE"] == "4"
    assert container["SM_VLLM_KV_CACHE_DTYPE"] == "fp8"
    (deployment,) = planned.of("azure-native:machinelearningservices:OnlineDeployment")
    azure = str(plain(deployment.inputs))
    assert "--tensor-parallel-size" in azure
    assert "Standard_NC96ads_A100_v4" in azure


@pytest.mark.heavy
def test_the_policies_have_nothing_against_it(planned: Found, packaged: Path) -> None:
    """But what is named as open, as in the other examples."""
    settings = parse_settings(flat(changed(example("deepseek"), {"spillway:package.path": str(packaged)})))
    verdict = judge(plain_resources(planned.all), settings.policies, policy_context(settings, packaged))
    found = [(v.policy.name, v.finding.rule, v.finding.resource and v.finding.resource.name) for v in verdict.mandatory]
    assert found == []


@pytest.mark.heavy
def test_the_autoscaler_waits_for_nothing_that_the_gateways_never_let_through(
    planned: Found, manifest: Manifest
) -> None:
    """Of one server: the requests in flight and those that wait in its queue at the gateways' own limits, against what
    the autoscaler wants to see before it adds another."""
    (scaler,) = (
        plain(one.inputs)["spec"]
        for one in planned.of("kubernetes:autoscaling/v2:HorizontalPodAutoscaler")
        if one.name.endswith("model-server-hpa")
    )
    targets: dict[str, str] = {}
    for metric in scaler["metrics"]:
        (kind,) = set(metric) - {"type"}
        target = metric[kind]["target"]
        targets[metric[kind]["metric"]["name"]] = target.get("averageValue") or target["value"]
    (routing,) = (
        plain(one.inputs)["data"]["routing.json"]
        for one in planned.of("kubernetes:core/v1:ConfigMap")
        if "routing.json" in plain(one.inputs).get("data", {})
    )
    table = RoutingTable.model_validate_json(routing)
    private = table.site(Site.PRIVATE)
    limits = table.limits(private)
    let_through = limits[Gate.OPEN] * table.replicas / private.instances
    assert manifest.language is not None
    assert int(targets["vllm_num_requests_waiting"]) <= let_through - manifest.language.max_num_seqs
    assert int(targets["spillway_requests_in_flight"].removesuffix("m")) / 1000 <= let_through
    assert int(targets["vllm_kv_cache_usage"].removesuffix("m")) / 1000 < table.kv_cache_share
    # P0 has places of its own in the batch, and the server is never the one that refuses it.
    assert limits[Gate.INTERACTIVE] * table.replicas / private.instances < manifest.language.max_num_seqs < let_through
    assert let_through < manifest.language.arguments["max-num-queued-reqs"]
    # As much of the KV cache can be in use: requests of full length, as many as run at once.
    language = manifest.language
    assert language.kv_bytes_per_token is not None
    cache = language.gpus * MEMORY_MIB["L40S"] * 2**20 * language.gpu_memory_utilization - WEIGHTS_BYTES
    most = min(let_through, language.max_num_seqs) * language.max_model_len * language.kv_bytes_per_token
    assert int(targets["vllm_kv_cache_usage"].removesuffix("m")) / 1000 <= most / cache
