from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from components.connectivity.settings import MirrorSettings
from components.model_server.server import ModelServer, ModelServerArgs
from components.model_server.settings import ModelServerSettings, ServerAutoscaling
from spillway.contracts.quantities import parse_quantity
from spillway.contracts.vllm_options import option_problem
from tests.support.recording import context, of_type, record
from tests.support.waiting import eventually


def build(**changes: Any) -> dict[str, dict[str, Any]]:
    values: dict[str, Any] = {
        "settings": ModelServerSettings(),
        "mirror": MirrorSettings(),
        "accelerator": "nvidia",
        "kind": "triton",
        "entry_model": "minilm",
        "package_uri": "s3://models/packages/minilm/v1/model.tar.gz",
        "package_sha256": "a" * 64,
        "aws_region": "eu-west-1",
        "priority_class": "spillway-test-p0",
        "slots": 4,
        "cpu": "4",
        "memory": "16Gi",
        "role_arn": "arn:aws:iam::123456789012:role/model-server",
    }
    args = ModelServerArgs(**{**values, **changes})
    found = record(lambda: ModelServer(context(), args))
    return {r.type.rsplit(":", 1)[-1]: r.inputs for r in found}


def test_probes_wait_for_the_model_and_the_drain_is_graceful() -> None:
    pod = build()["Deployment"]["spec"]["template"]["spec"]
    server = pod["containers"][0]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["path"] == "/v2/models/minilm/ready"
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # CoreDNS may name it for 30 s more, and requests that came until then have the whole drain.
    sleep, waits = server["lifecycle"]["preStop"]["exec"]["command"]
    assert (sleep, int(waits) > 30 + 5) == ("sleep", True)
    assert pod["terminationGracePeriodSeconds"] > int(waits) + ModelServerSettings().drain_s
    assert f"--exit-timeout-secs={ModelServerSettings().drain_s}" in server["command"]
    assert {t["topologyKey"] for t in pod["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_places_are_kept_by_pods_that_ask_for_what_a_server_asks() -> None:
    assert "ReplicaSet" not in build()
    found = build(settings=ModelServerSettings(autoscaling=ServerAutoscaling(spare_servers=2)), taints=())
    place, server = (found[kind]["spec"]["template"]["spec"] for kind in ("ReplicaSet", "Deployment"))
    assert found["ReplicaSet"]["spec"]["replicas"] == 2
    assert place["containers"][0]["resources"] == server["containers"][0]["resources"]
    assert place["tolerations"] == server["tolerations"]
    # Below every pod without a class, and above what the cluster autoscaler starts no node for (below -10).
    assert (found["PriorityClass"]["value"], place["terminationGracePeriodSeconds"]) == (-1, 0)


def test_the_digest_is_checked_before_unpacking() -> None:
    fetch = build()["Deployment"]["spec"]["template"]["spec"]["initContainers"][0]
    script = fetch["command"][-1]
    assert script.index("sha256sum -c") < script.index("tar -xzf")
    assert {"name": "SPILLWAY_PACKAGE_SHA256", "value": "a" * 64} in fetch["env"]


@pytest.mark.parametrize(
    ("mig", "metric", "target"),
    [(False, "DCGM_FI_DEV_GPU_UTIL", "80"), (True, "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "800m")],
)
def test_autoscaler_uses_pods_metrics_of_gpu_load_and_queue(mig: bool, metric: str, target: str) -> None:
    settings = ModelServerSettings(autoscaling=ServerAutoscaling(mig=mig))
    metrics = build(settings=settings)["HorizontalPodAutoscaler"]["spec"]["metrics"]
    pods = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in metrics if "pods" in m}
    assert pods == {metric: target, "triton_queue_ms": "100"}


def test_images_of_a_mirror_with_a_log_in_are_pulled_with_it() -> None:
    pod = build(mirror=MirrorSettings(pull_secret="mirror_login"))["Deployment"]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "spillway-test-pull"}]
    assert "imagePullSecrets" not in build()["Deployment"]["spec"]["template"]["spec"]


def test_local_nvme_storage_class() -> None:
    settings = ModelServerSettings.model_validate({"cache": {"storage_class": "local-nvme", "size": "200Gi"}})
    volume = build(settings=settings)["Deployment"]["spec"]["template"]["spec"]["volumes"][0]
    claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == "local-nvme"
    assert claim["resources"]["requests"]["storage"] == "200Gi"


def container(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return found["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def test_triton_starts_without_what_is_not_needed() -> None:
    """The restriction's form and what it takes: Triton 2.51's own --help; what it answers then:
    tests/components/gateway/test_envoy_routes.py."""
    found = build()
    server = container(found)
    assert {"--model-control-mode=explicit", "--load-model=minilm", "--allow-grpc=false"} < set(server["command"])
    restricted = next(part for part in server["command"] if part.startswith("--http-restricted-api="))
    apis, _, key = restricted.partition("=")[2].partition(":")
    assert set(apis.split(",")) == {"shared-memory", "model-repository", "trace", "logging"}
    assert key == "spillway-server-key=$(POD_UID)"
    assert {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}} in server["env"]
    assert [port["name"] for port in server["ports"]] == ["http", "metrics"]
    assert [port["name"] for port in found["Service"]["spec"]["ports"]] == ["http", "metrics"]


def test_vllm_starts_without_what_is_not_needed() -> None:
    found = build(kind="vllm", entry_model="smollm2", vllm_arguments={"disable-fastapi-docs": True})
    server = container(found)
    assert "--disable-fastapi-docs" in server["command"]
    assert not any("lora" in part or "tokenizer-info" in part for part in server["command"])
    variables = {variable["name"]: variable.get("value") for variable in server["env"]}
    assert variables["VLLM_SERVER_DEV_MODE"] == "0"
    assert variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "0"
    assert "VLLM_TORCH_PROFILER_DIR" not in variables
    # The pod's number has no account in the image, and torch asks for its name.
    assert variables["USER"]
    assert variables["VLLM_CACHE_ROOT"].startswith("/cache/")
    assert [port["name"] for port in server["ports"]] == ["http"]


def test_vllm_package_gets_vllm() -> None:
    server = container(build(kind="vllm", entry_model="smollm2"))
    assert server["command"][:2] == ["vllm", "serve"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/health"


KV = {"kv_tiers": {"memory": "8Gi", "disk": "100Gi"}}


def test_kv_has_tiers_in_memory_and_on_disk() -> None:
    """Words and their nesting: https://docs.vllm.ai/en/v0.30.0/features/kv_offloading_usage/."""
    found = build(kind="vllm", settings=ModelServerSettings.model_validate(KV))
    server = container(found)
    assert option_problem("kv-transfer-config", {}) is None
    config = json.loads(server["command"][server["command"].index("--kv-transfer-config") + 1])
    assert (config["kv_connector"], config["kv_role"]) == ("OffloadingConnector", "kv_both")
    assert config["kv_load_failure_policy"] == "recompute"
    extra = config["kv_connector_extra_config"]
    assert (extra["spec_name"], extra["cpu_bytes_to_use"]) == ("TieringOffloadingSpec", 8 * 2**30)
    (tier,) = extra["secondary_tiers"]
    pod = found["Deployment"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume.get("emptyDir", {}) for volume in pod["volumes"]}
    places = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    assert (tier["type"], volumes[places[tier["root_dir"]]]["sizeLimit"]) == ("fs", "100Gi")
    assert parse_quantity(volumes[places["/dev/shm"]]["sizeLimit"]) == 10 * 2**30
    assert parse_quantity(server["resources"]["requests"]["ephemeral-storage"]) == 150 * 2**30
    assert [one["name"] for one in pod["containers"]] == ["vllm", "sweep-kv"]


def test_kv_in_memory_alone_needs_no_disk() -> None:
    found = build(kind="vllm", settings=ModelServerSettings.model_validate({"kv_tiers": {"memory": "8Gi"}}))
    command = container(found)["command"]
    extra = json.loads(command[command.index("--kv-transfer-config") + 1])["kv_connector_extra_config"]
    assert extra == {"cpu_bytes_to_use": 8 * 2**30}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert len(pod["containers"]) == 1
    assert "kv" not in {volume["name"] for volume in pod["volumes"]}


def test_the_oldest_kv_goes_until_the_rest_fits(tmp_path: Path) -> None:
    """The very script, on files that were written days, hours and moments ago."""
    now = time.time()
    for name, hours in (("a", 200), ("b", 30), ("c", 3), ("d", 0)):
        (tmp_path / f"{name}.bin").write_bytes(bytes(100 * 1024))
        os.utime(tmp_path / f"{name}.bin", (now, now - 3600 * hours))
    (tmp_path / "config.json").write_text("{}")
    found = build(kind="vllm", settings=ModelServerSettings.model_validate(KV))
    (sweeper,) = found["Deployment"]["spec"]["template"]["spec"]["containers"][1:]
    variables = {one["name"]: one["value"] for one in sweeper["env"]}
    assert int(variables["KV_KEEP_KIB"]) == 80 * 2**20
    small = {"KV_FOLDER": str(tmp_path), "KV_KEEP_KIB": "250", "KV_EVERY_S": "0.05"}
    assert small.keys() == variables.keys()
    with subprocess.Popen(sweeper["command"], env={**os.environ, **small}) as process:
        kept = {"c.bin", "d.bin", "config.json", ".swept"}
        eventually(lambda: {path.name for path in tmp_path.iterdir()} == kept, what="the oldest are gone")
        probe = sweeper["livenessProbe"]["exec"]["command"]
        assert subprocess.run(probe, env={**os.environ, **small}, check=False).returncode == 0
        process.terminate()
        assert process.wait(5) == 0
    os.utime(tmp_path / ".swept", (now, now - 600))
    assert subprocess.run(probe, env={**os.environ, **small}, check=False).returncode != 0


def test_sizes_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="min_replicas <= max_replicas"):
        ServerAutoscaling(min_replicas=5, max_replicas=2)


def test_every_object_carries_the_stack_labels() -> None:
    args = ModelServerArgs(
        settings=ModelServerSettings(),
        mirror=MirrorSettings(images={"*": "registry.example.com"}),
        accelerator="amd",
        kind="triton",
        entry_model="minilm",
        package_uri="s3://b/k",
        package_sha256="b" * 64,
        aws_region="eu-west-1",
        priority_class="spillway-test-p0",
        slots=4,
        cpu="4",
        memory="16Gi",
        role_arn="arn:aws:iam::123456789012:role/model-server",
    )
    found = record(lambda: ModelServer(context(), args))
    objects = [r for r in found if r.type.startswith("kubernetes:")]
    assert len(objects) == 5
    for r in objects:
        assert r.inputs["metadata"]["labels"]["spillway.dev/cost-centre"] == "cc-1"
    deployment = of_type(found, "kubernetes:apps/v1:Deployment")[0].inputs
    server = deployment["spec"]["template"]["spec"]["containers"][0]
    assert server["image"].startswith("registry.example.com/")
    assert server["resources"]["limits"]["amd.com/gpu"] == "1"
