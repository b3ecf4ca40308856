"""The example of a model that one private node does not hold, planned and judged: a server is two nodes of eight GPUs.

Sizes are those of huggingface.co/deepseek-ai/DeepSeek-V3-0324 (688.6 GB of safetensors; the KV cache of one token over
61 layers of latent attention, in bf16), GPUs' memory that of the providers' tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.judge import judge
from spillway.contracts.gpus import MEMORY_MIB
from spillway.contracts.manifest import Manifest, read_manifest
from spillway.contracts.prices import find_price
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.deployer.policy import plain_resources
from spillway.twin.kubernetes.standin import KubernetesStandIn
from stacks.planning import PrivatePrice, private_grows_to, private_spec, service_of
from stacks.rules import problems_between, problems_with_package
from stacks.sites import burst_sites
from stacks.stack_file import parse_settings, policy_context
from tests.model_packaging.packages import reseal
from tests.program.site import Found, plain
from tests.stacks.files import REMOVE, changed, deployer, example, flat, project, secrets_for
from tests.support.packages import small_package
from tests.support.paths import ROOT

NOWHERE = "http://127.0.0.1:1"
VLLM = yaml.safe_load((ROOT / "model_packaging/examples/deepseek-v3/model.yaml").read_text(encoding="utf-8"))["vllm"]
GROUP = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example's model.yaml would make of the weights."""
    path = small_package(tmp_path_factory.mktemp("v3") / "package", kind="vllm")
    language = read_manifest(path).language
    assert language is not None
    sizes = {name: VLLM[name] for name in ("max_model_len", "tensor_parallel_size", "gpu_memory_utilization")}
    held = {"weights_bytes": 688_600_000_000, "kv_bytes_per_token": 70_272, "kv_shards": 1, "engine": "0.30.0"}
    return reseal(path, language=language.model_copy(update={**sizes, **held}))


@pytest.fixture(scope="module")
def manifest(packaged: Path) -> Manifest:
    return read_manifest(packaged)


def told(manifest: Manifest, **changes: Any) -> dict[str, str]:
    given = {f"spillway:{key.replace('__', '.')}": value for key, value in changes.items()}
    settings = parse_settings(flat(changed(example("deepseek-v3"), given)))
    sites = burst_sites(settings)
    found = [*problems_between(settings, sites), *problems_with_package(settings, sites, manifest)]
    keys = dict.fromkeys(problem.key for problem in found)
    return {key.removeprefix("spillway:"): "; ".join(str(one) for one in found if one.key == key) for key in keys}


def test_each_site_holds_the_model_in_its_own_way(manifest: Manifest) -> None:
    """Two nodes of eight H100 here, one machine of eight H200 there; one of eight H100 holds it nowhere."""
    assert told(manifest) == {}
    alone = told(manifest, model_server__span=REMOVE)
    # 688.6 GB / 8, and 70272 bytes for each of 32768 tokens.
    assert "each GPU would hold 82.3 GiB" in alone["private_cluster.gpu_pool.instance_type"]
    h100 = {"azure_ml": {"vm_size": "Standard_ND96isr_H100_v5", "container_image": "registry.example.com/vllm:0.30.0"}}
    assert "burst.azure_ml.vm_size" in told(manifest, burst=h100)


def test_gpus_of_a_server_are_those_that_the_package_is_made_for(manifest: Manifest) -> None:
    uneven = told(manifest, model_server__gpus=6)
    assert "6 GPUs on each of 2 nodes are 12, and the package is made for 8" in uneven["model_server.span.nodes"]
    assert "model_server.span.nodes" not in told(manifest, model_server__gpus=4)
    large = manifest.model_copy(update={"language": _spread(manifest)})
    assert "burst.azure_ml.vm_size" in told(large), "sixteen GPUs are on no machine of Azure"
    assert "model_server.span.nodes" not in told(large)


def _spread(manifest: Manifest) -> Any:
    assert manifest.language is not None
    return manifest.language.model_copy(update={"pipeline_parallel_size": 2})


def test_groups_are_counted_whole(manifest: Manifest) -> None:
    scaling = {"min_replicas": 1, "max_replicas": 3}
    few = told(manifest, model_server__autoscaling=scaling)
    assert "room for 2 servers of 8 GPU on each of 2 nodes" in few["model_server.autoscaling.max_replicas"]
    small = {"serving": {"cpu": "400", "memory": "7Ti", "pods": 50}}
    # Two servers and an update's third, two pods of 96 CPUs each.
    assert "ask for 576" in told(manifest, private_cluster__quotas=small)["private_cluster.quotas.serving.cpu"]


def test_what_serves_on_one_node_alone_spans_none(manifest: Manifest) -> None:
    triton = manifest.model_copy(update={"kind": "triton", "language": None})
    assert "Triton serves on one node" in told(triton)["model_server.span"]
    assert "model_server.gpus" in told(manifest, model_server__gpus=0)


def test_a_plan_counts_the_nodes_of_a_server_as_one(packaged: Path) -> None:
    """Each of sixteen H100 holds a sixteenth of the weights and, of 61 layers' latent attention, half of a token's KV
    on one node: 70272 bytes, which tensor parallelism does not divide."""
    settings = parse_settings(flat(changed(example("deepseek-v3"), {"spillway:package.path": str(packaged)})))
    sites = burst_sites(settings)
    service = service_of(settings, sites, ROOT, None, (20_000.0, 40.0), 32)
    assert service.gpus_per_server == 8, "on a machine that holds it alone"
    spec = private_spec(settings, sites, service, PrivatePrice())
    assert (spec.gpus, spec.servers, spec.min_instances, spec.instance_type) == (16, 1, 1, "2 x p5.48xlarge")
    alone = find_price("ec2", "p5.48xlarge", "us-east-1")
    assert spec.usd_per_hour == pytest.approx(2 * alone.usd_per_hour)
    free = MEMORY_MIB["H100"] * 2**20 * VLLM["gpu_memory_utilization"] - 688_600_000_000 / 16
    assert spec.kv_tokens == pytest.approx(free / (70_272 / 2), rel=1e-6)
    # Two servers at most, on four nodes.
    assert private_grows_to(settings, spec) == 2


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        # EC2 tells of 10 Gbit/s and no adapter of the one, and of one adapter for four GPUs of the other.
        (
            {"private_cluster__gpu_pool__instance_type": "g6.xlarge", "private_cluster__gpu_pool__gpus_per_node": 1},
            "private_cluster.gpu_pool.instance_type",
            "over TCP, with 10 Gbit/s at most",
        ),
        (
            {
                "private_cluster__gpu_pool__instance_type": "g6e.12xlarge",
                "private_cluster__gpu_pool__gpus_per_node": 4,
                "model_server__gpus": 2,
            },
            "model_server.gpus",
            "1 Elastic Fabric Adapter for 4 GPUs",
        ),
        (
            {"private_cluster__gpu_pool__min_nodes": 0},
            "private_cluster.gpu_pool.min_nodes",
            "knows no Elastic Fabric Adapters",
        ),
        (
            {"model_server__vllm_image": "docker.io/vllm/vllm-openai:v0.30.0"},
            "model_server.vllm_image",
            "NCCL would go over TCP without a word",
        ),
        (
            {"model_server__span": {"nodes": 2, "fabric": "devices", "devices": {"rdma/hca": 1}}},
            "model_server.span.fabric",
            "give efa",
        ),
        (
            {
                "private_cluster": {
                    "kind": "existing",
                    "kubeconfig_path": "kubeconfig",
                    "nodes": 2,
                    "usd_per_node_hour": 40.0,
                }
            },
            "model_server.span.fabric",
            "what connects the nodes of an existing cluster is not known",
        ),
        (
            {
                "private_cluster": {
                    "kind": "aks",
                    "admin_group_ids": ["00000000-0000-4000-8000-0000000000aa"],
                    "gpu_pool": {"vm_size": "Standard_ND96isr_H100_v5", "gpus_per_node": 8, "min_nodes": 2},
                }
            },
            "model_server.span.fabric",
            "over TCP a node has 80 Gbit/s",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nodes_without_a_fabric_are_refused_or_wanted(
    manifest: Manifest, changes: dict[str, Any], key: str, said: str
) -> None:
    assert said in told(manifest, **changes)[key]
    wanted = {"nodes": 2, "fabric": "tcp"}
    accepted = told(manifest, **{**changes, "model_server__span": wanted})
    assert said not in accepted.get(key, "")


@pytest.fixture(scope="module")
def planned(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    zones = [f"us-east-1{letter}" for letter in "abc"]
    config = changed(
        example("deepseek-v3"), {"spillway:package.path": str(packaged), "spillway:connectivity.zones": zones}
    )
    config.update(secrets_for(config))
    stand_ins = [AwsStandIn(NOWHERE), AzureStandIn(NOWHERE), KubernetesStandIn(NOWHERE)]
    return Found(deployer(project(tmp_path_factory.mktemp("project"), config), stand_ins).preview().resources)


@pytest.mark.heavy
def test_the_plan_has_a_group_its_controller_and_a_zone_for_it(planned: Found) -> None:
    (group,) = planned.of(GROUP)
    made = plain(group.inputs)["spec"]["leaderWorkerTemplate"]
    assert made["size"] == 2
    (leader,) = made["leaderTemplate"]["spec"]["containers"]
    command = leader["command"]
    sizes = {name: command[command.index(f"--{name}-parallel-size") + 1] for name in ("tensor", "pipeline")}
    assert sizes == {"tensor": "8", "pipeline": "2"}
    assert "--pipeline-parallel-size" not in str(
        [plain(one.inputs) for one in planned.of("azure-native:machinelearningservices:OnlineDeployment")]
    )
    charts = [plain(one.inputs) for one in planned.of("kubernetes:helm.sh/v3:Release")]
    (controller,) = (one for one in charts if one["chart"].endswith("/lws"))
    assert controller["version"] == "0.9.0"
    pools = {one.name.rsplit("-", 1)[-1]: plain(one.inputs) for one in planned.of("aws:eks/nodeGroup:NodeGroup")}
    assert (len(pools["gpu"]["subnetIds"]), len(pools["system"]["subnetIds"])) == (1, 3)


@pytest.mark.heavy
def test_the_plans_nodes_have_the_adapters_that_its_pods_ask_for(planned: Found) -> None:
    (group,) = planned.of(GROUP)
    made = plain(group.inputs)["spec"]["leaderWorkerTemplate"]
    (template,) = (
        interfaces
        for one in planned.of("aws:ec2/launchTemplate:LaunchTemplate")
        if (interfaces := plain(one.inputs).get("networkInterfaces"))
    )
    adapters = sum(one["interfaceType"] == "efa-only" for one in template)
    for who in ("leaderTemplate", "workerTemplate"):
        (container,) = made[who]["spec"]["containers"]
        assert container["resources"]["limits"]["vpc.amazonaws.com/efa"] == str(adapters) == "32"
    charts = [plain(one.inputs) for one in planned.of("kubernetes:helm.sh/v3:Release")]
    (plugin,) = (one for one in charts if one["chart"] == "aws-efa-k8s-device-plugin")
    assert plugin["values"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


@pytest.mark.heavy
def test_the_policies_have_nothing_against_it(planned: Found, packaged: Path) -> None:
    settings = parse_settings(flat(changed(example("deepseek-v3"), {"spillway:package.path": str(packaged)})))
    verdict = judge(plain_resources(planned.all), settings.policies, policy_context(settings, packaged))
    found = [(v.policy.name, v.finding.rule, v.finding.resource and v.finding.resource.name) for v in verdict.mandatory]
    assert found == []
