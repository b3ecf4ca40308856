"""A cache of answers, as the real program plans it: who keeps what where, and who may reach it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.manifest import read_manifest
from spillway.contracts.routing import RoutingTable
from stacks.entrance import gateway_rights
from stacks.stack_file import parse_settings
from tests.program.site import Found, plain
from tests.stacks.files import changed, example, flat
from tests.stacks.test_packages import planned
from tests.support.packages import small_package

pytestmark = pytest.mark.heavy
BUCKET = "corp-answers"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    cache = {"disk": "10Gi", "s3_bucket": BUCKET, "ttl_s": 600}
    return planned(folder / "project", small_package(folder / "package"), gateway__cache=cache)


def of_kind(found: Found, kind: str) -> dict[str, dict[str, Any]]:
    return {plain(one.inputs)["metadata"]["name"]: plain(one.inputs) for one in found.of(kind)}


def test_the_private_gateway_has_three_tiers(found: Found, folder: Path) -> None:
    config = of_kind(found, "kubernetes:core/v1:ConfigMap")["gateway-config"]
    cache = RoutingTable.model_validate_json(config["data"]["routing.json"]).cache
    assert cache is not None
    assert cache.redis is not None
    assert cache.folder is not None
    assert cache.s3 is not None
    assert cache.package_digest == read_manifest(folder / "package").digest
    assert cache.redis.host == "redis.spillway-test-system.svc.cluster.local"
    assert (cache.s3.bucket, cache.s3.region, cache.ttl_s) == (BUCKET, "us-east-1", 600)
    # Below what the volume holds, above which Kubernetes ends the pod.
    assert cache.folder.most_bytes == 8 * 2**30
    spec = of_kind(found, "kubernetes:apps/v1:Deployment")["gateway"]["spec"]["template"]["spec"]
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "answers")
    assert volume["emptyDir"] == {"sizeLimit": "10Gi"}
    (agent,) = (container for container in spec["containers"] if container["name"] == "agent")
    assert {"name": "answers", "mountPath": cache.folder.path} in agent["volumeMounts"]


def test_gateways_and_redis_may_reach_each_other(found: Found) -> None:
    policies = of_kind(found, "kubernetes:networking.k8s.io/v1:NetworkPolicy")
    out = json.dumps(policies["gateway"]["spec"]["egress"])
    into = json.dumps(policies["redis"]["spec"]["ingress"])
    assert "spillway-test-system" in out
    assert "spillway-test-gateway" in into


def test_gateways_may_read_and_write_answers_and_nothing_else_of_the_bucket() -> None:
    """What both roles get beside what the burst sites want."""
    settings = parse_settings(flat(changed(example("local"), {"spillway:gateway.cache": {"s3_bucket": BUCKET}})))
    (rights,) = gateway_rights(settings, [])
    assert isinstance(rights, list)
    (statement,) = rights
    assert statement["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert statement["Resource"] == f"arn:aws:s3:::{BUCKET}/answers/*"
    assert gateway_rights(parse_settings(flat(example("local"))), []) == []


def test_the_standby_has_s3_alone(found: Found) -> None:
    config = of_kind(found, "kubernetes:core/v1:ConfigMap")["gateway-config"]
    table = RoutingTable.model_validate_json(config["data"]["routing.json"])
    away = table.standby(2).cache
    assert away is not None
    assert (away.redis, away.folder) == (None, None)
    assert away.s3 is not None
    assert table.cache is not None
    without = table.model_copy(update={"cache": table.cache.model_copy(update={"s3": None})})
    assert without.standby(2).cache is None
