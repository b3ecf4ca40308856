"""A server of two nodes, against LeaderWorkerSet's own definition and what its controller and vLLM document."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from components.model_server.group import efa
from components.model_server.settings import ModelServerSettings, SpanSettings
from spillway.twin.kubernetes import rules
from spillway.twin.kubernetes.schema import Catalogue
from tests.components.model_server.test_server import build

TWO_NODES = {"gpus": 8, "span": {"nodes": 2}}


def spanned(**changes: Any) -> dict[str, dict[str, Any]]:
    settings = ModelServerSettings.model_validate({**TWO_NODES, **changes.pop("settings", {})})
    arguments = {"tensor-parallel-size": 8, "pipeline-parallel-size": 2}
    return build(settings=settings, kind="vllm", entry_model="v3", vllm_arguments=arguments, **changes)


def template(found: dict[str, dict[str, Any]], who: str) -> dict[str, Any]:
    return found["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"][f"{who}Template"]


def container(found: dict[str, dict[str, Any]], who: str) -> dict[str, Any]:
    (only,) = template(found, who)["spec"]["containers"]
    return only


def test_the_set_is_what_its_definition_takes() -> None:
    """The CRD of the version whose controller is installed, and the API server's rules for the pods in it."""
    made = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", **spanned()["LeaderWorkerSet"]}
    catalogue = Catalogue()
    kind = catalogue.find(made["apiVersion"], made["kind"])
    assert kind is not None
    assert catalogue.errors(kind, made) == []
    assert rules.errors(made) == []
    made["spec"]["leaderWorkerTemplate"]["siz"] = 2
    assert [error.path for error in catalogue.errors(kind, made)] == ["spec.leaderWorkerTemplate.siz"]


def test_vllm_is_told_of_both_nodes() -> None:
    """https://docs.vllm.ai/en/v0.30.0/serving/parallelism_scaling/, "Running vLLM with MultiProcessing"; the variables:
    https://lws.sigs.k8s.io/docs/reference/labels-annotations-and-environment-variables/"""
    found = spanned()
    told = {who: container(found, who)["command"] for who in ("leader", "worker")}
    for command in told.values():
        for option, value in {
            "--nnodes": "2",
            "--node-rank": "$(LWS_WORKER_INDEX)",
            "--master-addr": "$(LWS_LEADER_ADDRESS)",
            "--tensor-parallel-size": "8",
            "--pipeline-parallel-size": "2",
        }.items():
            assert command[command.index(option) + 1] == value
    assert [*told["leader"], "--headless"] == told["worker"]


def test_only_leaders_answer_and_every_node_has_the_package_and_its_gpus() -> None:
    found = spanned()
    assert found["Service"]["spec"]["selector"] == {
        "app.kubernetes.io/name": "model-server",
        "leaderworkerset.sigs.k8s.io/worker-index": "0",
    }
    # The controller makes a Service of the set's name itself, for leaders that are not ready.
    assert found["LeaderWorkerSet"]["metadata"]["name"] != found["Service"]["metadata"]["name"]
    for who in ("leader", "worker"):
        assert container(found, who)["resources"]["limits"]["nvidia.com/gpu"] == "8"
        assert template(found, who)["spec"]["initContainers"][0]["name"] == "fetch-package"
    assert "ports" not in container(found, "worker")
    assert "readinessProbe" not in container(found, "worker")
    assert "readinessProbe" in container(found, "leader")


def test_every_node_has_its_adapters_and_what_their_libraries_need() -> None:
    """As AWS's own manifests for two p5.48xlarge ask: https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html"""
    found = spanned(fabric=efa(32, huge_pages_mib=5120))
    made = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", **found["LeaderWorkerSet"]}
    assert rules.errors(made) == []
    for who in ("leader", "worker"):
        asked = container(found, who)["resources"]
        for part in ("requests", "limits"):
            assert asked[part]["vpc.amazonaws.com/efa"] == "32"
            assert asked[part]["hugepages-2Mi"] == "5120Mi"
        told = {one["name"]: one.get("value") for one in container(found, who)["env"]}
        assert told["FI_PROVIDER"] == "efa"
    # What fetches the package reaches no other node.
    assert "vpc.amazonaws.com/efa" not in template(found, "leader")["spec"]["initContainers"][0]["resources"]["limits"]


def test_groups_are_scaled_and_drained_whole() -> None:
    found = spanned()
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"] == {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "name": "model-server-group",
    }
    # A second pod of the same group would count as a second disruption; of another group, it would end that, too.
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert found["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupAfterStart"


@pytest.mark.parametrize(("spare", "surge", "gone"), [(True, 1, 0), (False, 0, 1)])
def test_a_full_pool_is_updated_group_by_group(spare: bool, surge: int, gone: int) -> None:
    rollout = spanned(spare_gpu=spare)["LeaderWorkerSet"]["spec"]["rolloutStrategy"]["rollingUpdateConfiguration"]
    assert rollout == {"maxSurge": surge, "maxUnavailable": gone}


def test_a_group_stands_in_one_zone_or_alone_in_a_rack() -> None:
    (term,) = template(spanned(), "worker")["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    assert term["matchLabelKeys"] == ["leaderworkerset.sigs.k8s.io/group-key"]
    racks = {"span": {"nodes": 2, "topology": "example.com/rack", "exclusive": True}}
    alone = spanned(settings=racks)
    annotations = alone["LeaderWorkerSet"]["metadata"]["annotations"]
    assert annotations["leaderworkerset.sigs.k8s.io/exclusive-topology"] == "example.com/rack"
    assert "affinity" not in template(alone, "worker")["spec"]


def test_workers_compute_until_the_leaders_last_answer() -> None:
    """A group's pods are told to end together (LeaderWorkerSet deletes the leader, and with it what it owns)."""
    found = spanned(settings={"drain_s": 180})
    leader, worker = (container(found, who)["lifecycle"]["preStop"] for who in ("leader", "worker"))
    drained_after = int(leader["exec"]["command"][-1]) + 180
    assert worker["sleep"]["seconds"] >= drained_after
    grace = template(found, "worker")["spec"]["terminationGracePeriodSeconds"]
    assert worker["sleep"]["seconds"] < grace


def test_devices_are_named_where_they_are_the_fabric() -> None:
    for wrong in ({"devices": {"rdma/hca": 1}}, {"fabric": "devices"}, {"fabric": "tcp", "devices": {"rdma/hca": 1}}):
        with pytest.raises(ValidationError, match="devices are named with fabric: devices"):
            SpanSettings.model_validate({"nodes": 2, **wrong})
