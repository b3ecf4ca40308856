"""GPUs that several servers share: what the operator is told, what is counted, and what is refused.

Profiles and their numbers: docs.nvidia.com/datacenter/tesla/mig-user-guide (A100 80GB: seven 1g.10gb, three 2g.20gb).
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.private_cluster import operators
from spillway.contracts.gpus import MEMORY_MIB
from spillway.planner.errors import PlannerError
from spillway.planner.service import from_rates
from stacks.placement import gpus_of_a_node, gpus_of_a_server, servers_at_most
from stacks.planning import PrivatePrice, private_spec
from stacks.rules import problems_between, problems_with_package
from stacks.settings import StackSettings
from stacks.sites import burst_sites
from stacks.stack_file import parse_settings
from tests.stacks.files import changed, example, flat
from tests.stacks.test_language_rules import SMALL, package

A100 = {"vm_size": "Standard_NC24ads_A100_v4", "gpus_per_node": 1, "disk_gib": 512, "min_nodes": 1, "max_nodes": 2}


def stack(sharing: dict[str, Any], pool: dict[str, Any] | None = None, **changes: Any) -> StackSettings:
    """The dev example, on Azure, with A100s."""
    given = {f"spillway:{key.replace('__', '.')}": value for key, value in changes.items()}
    shared = {
        "spillway:private_cluster.gpu_pool": pool or A100,
        "spillway:private_cluster.gpu_sharing": sharing,
        "spillway:model_server.autoscaling": {"min_replicas": 1, "max_replicas": 4},
    }
    return parse_settings(flat(changed(example("dev"), {**shared, **given})))


def told(settings: StackSettings) -> dict[str, str]:
    found = problems_between(settings, burst_sites(settings))
    return {one.key.removeprefix("spillway:"): str(one) for one in found}


@pytest.mark.parametrize(
    ("sharing", "parts"), [({"mig": "1g.10gb"}, 7), ({"mig": "2g.20gb"}, 3), ({"time_slices": 4}, 4)]
)
def test_a_part_counts_as_a_gpu(sharing: dict[str, Any], parts: int) -> None:
    settings = stack(sharing)
    assert told(settings) == {}
    assert gpus_of_a_node(settings) == parts
    assert servers_at_most(settings) == 2 * parts
    # What is up costs its part of what a GPU costs.
    assert gpus_of_a_server(settings) == 1 / parts


def test_mig_is_the_operators_work_and_keeps_the_resources_name() -> None:
    """docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-mig.html"""
    values = operators.nvidia_values(stack({"mig": "1g.10gb"}).private_cluster)
    assert values["mig"] == {"strategy": "single"}
    assert values["migManager"]["config"] == {"default": "all-1g.10gb"}
    assert {"name": "WITH_REBOOT", "value": "true"} in values["migManager"]["env"]
    assert "config" not in values.get("devicePlugin", {})


def test_turns_are_the_device_plugins() -> None:
    """docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html"""
    values = operators.nvidia_values(stack({"time_slices": 4}).private_cluster)
    config = values["devicePlugin"]["config"]
    turns = yaml.safe_load(config["data"][config["default"]])["sharing"]["timeSlicing"]
    assert turns["resources"] == [{"name": "nvidia.com/gpu", "replicas": 4}]
    assert turns["failRequestsGreaterThanOne"] is True
    # The exporter names no pod for a GPU that is shared so, unless it is told.
    assert {"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"} in values["dcgmExporter"]["env"]


T4 = {"vm_size": "Standard_NC4as_T4_v3", "gpus_per_node": 1, "min_nodes": 1, "max_nodes": 2}
EXISTING = {
    "kind": "existing",
    "kubeconfig_secret": "kubeconfig",
    "nodes": 2,
    "usd_per_node_hour": 10.0,
    "gpu_sharing": {"mig": "1g.10gb"},
}


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        (lambda: stack({"mig": "1g.5gb"}), "gpu_sharing.mig", "1g.10gb, 1g.20gb, 2g.20gb"),
        (lambda: stack({"mig": "1g.10gb"}, T4), "gpu_sharing.mig", "T4 of Standard_NC4as_T4_v3 has no MIG"),
        (lambda: stack({"time_slices": 2}, {**A100, "min_nodes": 0}), "gpu_pool.min_nodes", "at least 1"),
        (
            lambda: stack({"time_slices": 2}, private_cluster__nvidia_operator={"enabled": False}),
            "gpu_sharing",
            "the operator arranges it",
        ),
        (
            lambda: parse_settings(flat(changed(example("local"), {"spillway:private_cluster": EXISTING}))),
            "gpu_sharing.mig",
            "count the slices",
        ),
    ],
    ids=["another GPU's profile", "no MIG", "an empty pool", "no operator", "an existing cluster"],
)
def test_what_cannot_be_shared_is_refused(settings: Any, key: str, said: str) -> None:
    assert said in told(settings())[f"private_cluster.{key}"]


def test_the_disk_holds_the_caches_of_all_that_share_a_gpu() -> None:
    """Of 50 GiB each by default; the scheduler found no place for the fourth on a node of 200 GiB."""
    few = told(stack({"mig": "1g.10gb"}, {**A100, "disk_gib": 200}))
    assert "7 servers on a node keep 350 GiB" in few["private_cluster.gpu_pool.disk_gib"]
    assert told(stack({"mig": "1g.10gb"}, {**A100, "disk_gib": 200}, model_server__cache={"size": "20Gi"})) == {}


def test_parts_do_not_compute_together() -> None:
    two = told(stack({"mig": "1g.10gb"}, model_server__gpus=2))
    assert "a server takes one part" in two["model_server.gpus"]


def test_sharing_goes_one_way_at_a_time() -> None:
    with pytest.raises(Exception, match="give one of mig"):
        stack({"mig": "1g.10gb", "time_slices": 2})


def test_a_model_has_the_memory_of_its_part() -> None:
    """16 GB of weights: not in a slice of 10, in one of 20; and two servers at 90 % do not take turns on 80 GB."""

    def refused(sharing: dict[str, Any], **serving: Any) -> dict[str, str]:
        settings = stack(sharing, model_server__gpus=1)
        found = problems_with_package(settings, burst_sites(settings), package(**SMALL, **serving))
        return {one.key.removeprefix("spillway:private_cluster."): str(one) for one in found if "private" in one.key}

    assert "90% of 9.3 GiB" in refused({"mig": "1g.10gb"})["gpu_pool.vm_size"]
    assert refused({"mig": "1g.20gb"}) == {}
    turns = refused({"time_slices": 2})
    assert "gpu_memory_utilization of at most 0.50" in turns["gpu_sharing.time_slices"]
    assert refused({"time_slices": 2}, gpu_memory_utilization=0.45) == {}


@pytest.mark.parametrize(
    ("sharing", "servers", "slower", "memory"),
    [
        # A slice of seven of the multiprocessors, and an eighth of the memory and its bandwidth (MIG user guide).
        ({"mig": "1g.10gb"}, 7, (7.0, 8.0), 1 / 8),
        ({"mig": "3g.40gb"}, 2, (7 / 3, 2.0), 1 / 2),
        # Four take turns on all of it.
        ({"time_slices": 4}, 4, (4.0, 4.0), 1.0),
    ],
)
def test_a_plan_counts_parts_and_how_slow_they_are(
    sharing: dict[str, Any], servers: int, slower: tuple[float, float], memory: float
) -> None:
    settings = stack(sharing)
    sites = burst_sites(settings)
    rated = from_rates(10_000, 100, slots=4, gpu="A100-80GB")
    service = rated.model_copy(update={"gpu_weights_bytes": 2 * 10**9, "gpu_kv_bytes_per_token": 10_000.0})
    whole = private_spec(stack_of_whole_gpus(settings), sites, service, PrivatePrice())
    spec = private_spec(settings, sites, service, PrivatePrice())
    assert (whole.servers, whole.factors) == (1, (1.0, 1.0))
    assert spec.servers == servers
    assert spec.factors == pytest.approx(slower)
    assert spec.usd_per_hour == whole.usd_per_hour
    there = MEMORY_MIB["A100-80GB"] * 2**20 * service.memory_share * memory
    assert spec.kv_tokens == pytest.approx((there - 2 * 10**9) / 10_000, rel=1e-6)


def stack_of_whole_gpus(settings: StackSettings) -> StackSettings:
    cluster = settings.private_cluster.model_copy(update={"gpu_sharing": None})
    return settings.model_copy(update={"private_cluster": cluster})


def test_a_server_of_several_gpus_is_no_part_of_one() -> None:
    service = from_rates(10_000, 100, slots=4, gpus_per_server=2, gpu="A100-80GB")
    settings = stack({"time_slices": 4})
    with pytest.raises(PlannerError, match="gives a server a part of one"):
        private_spec(settings, burst_sites(settings), service, PrivatePrice())
