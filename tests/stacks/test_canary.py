"""A release on trial, as the real program plans it beside the package that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.manifest import read_manifest
from spillway.contracts.routing import RoutingTable
from tests.program.site import Found, plain
from tests.stacks.test_packages import planned
from tests.support.packages import SLOTS, small_package

pytestmark = pytest.mark.heavy
NAME = "app.kubernetes.io/name"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canary")


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    package, release = small_package(folder / "package"), small_package(folder / "release", slots=SLOTS + 1)
    return planned(
        folder / "project",
        package,
        private_cluster__gpus_per_node=2,
        model_server__canary={"package": str(release), "percent": 20},
    )


def of_kind(found: Found, kind: str) -> dict[str, dict[str, Any]]:
    return {plain(one.inputs)["metadata"]["name"]: plain(one.inputs) for one in found.of(kind)}


def test_each_release_has_its_servers_and_a_cache_of_its_own(found: Found, folder: Path) -> None:
    deployments = of_kind(found, "kubernetes:apps/v1:Deployment")
    seen = []
    for name, package in (("model-server", "package"), ("model-server-canary", "release")):
        template = deployments[name]["spec"]["template"]
        manifest = read_manifest(folder / package)
        digest = template["metadata"]["annotations"]["spillway.dev/package-sha256"]
        (fetch,), (server,) = template["spec"]["initContainers"], template["spec"]["containers"]
        given = {entry["name"]: entry.get("value") for entry in fetch["env"]}
        assert f"/packages/{manifest.name}/{manifest.version}/" in given["SPILLWAY_PACKAGE_URI"]
        assert given["SPILLWAY_PACKAGE_SHA256"] == digest
        assert template["metadata"]["labels"][NAME] == name
        # Triton looks a response up by model, version and inputs, which both releases share.
        (database,) = [flag for flag in server["command"] if flag.startswith("--cache-config=redis,db=")]
        seen.append((digest, database))
    assert len(set(seen)) == len({digest for digest, _ in seen}) == len({database for _, database in seen}) == 2


def test_the_gateways_know_both_and_may_reach_both(found: Found) -> None:
    config = of_kind(found, "kubernetes:core/v1:ConfigMap")["gateway-config"]
    table = RoutingTable.model_validate_json(config["data"]["routing.json"])
    canary = table.sites[0].canary
    assert canary is not None
    namespace = "spillway-test-serving"
    assert canary.host == f"model-server-canary.{namespace}.svc.cluster.local"
    assert (canary.percent, canary.slots) == (20, SLOTS + 1)
    assert "model-server-canary" in of_kind(found, "kubernetes:core/v1:Service")
    assert "model-server-canary" in of_kind(found, "kubernetes:networking.k8s.io/v1:NetworkPolicy")
    assert "model-server-canary" in of_kind(found, "kubernetes:monitoring.coreos.com/v1:ServiceMonitor")
    # It is moved by no autoscaler, and uses the account that the role in AWS is for.
    assert set(of_kind(found, "kubernetes:autoscaling/v2:HorizontalPodAutoscaler")) == {"model-server", "gateway"}
    assert "model-server-canary" not in of_kind(found, "kubernetes:core/v1:ServiceAccount")


def test_both_releases_are_in_the_store(found: Found, folder: Path) -> None:
    keys = {plain(one.inputs)["key"] for one in found.of("aws:s3/bucketObjectv2:BucketObjectv2")}
    for package in ("package", "release"):
        manifest = read_manifest(folder / package)
        assert f"packages/{manifest.name}/{manifest.version}/manifest.json" in keys
