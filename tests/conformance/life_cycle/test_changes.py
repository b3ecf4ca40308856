"""Names that stay taken, updates that are refused, old fleets: a fragment that does it right, and one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from spillway.conformance.life_cycle import rollback, taken, updates
from spillway.contracts.resources import UNKNOWN, Resource
from tests.conformance.plan import accused, made

SECRET = "aws:secretsmanager/secret:Secret"
BUCKET = "aws:s3/bucket:Bucket"
VAULT = "azure-native:keyvault:Vault"
ML = "azure-native:machinelearningservices"

left_behind = partial(accused, taken.RULES)
refused = partial(accused, updates.RULES)
lost = partial(accused, rollback.RULES)


def test_a_name_of_ones_own_is_taken_for_the_recovery_window() -> None:
    assert left_behind("secretsmanager-name-taken", made(SECRET, "key", {"name": "own/key"})) == ["key"]
    for props in ({"name": "key-0cdb064"}, {"name": "own/key", "recoveryWindowInDays": 0}, {"name": UNKNOWN}):
        assert left_behind("secretsmanager-name-taken", made(SECRET, "key", props)) == []


def test_an_unprotected_bucket_is_emptied() -> None:
    bucket = made(BUCKET, "results", {"bucket": "results"})
    assert left_behind("s3-bucket-left-full", bucket) == ["results"]
    assert left_behind("s3-bucket-left-full", replace(bucket, protect=True)) == []
    assert left_behind("s3-bucket-left-full", made(BUCKET, "results", {"forceDestroy": True})) == []


def test_a_vaults_name_outlives_it() -> None:
    assert left_behind("azure-name-taken", made(VAULT, "vault", {"vaultName": "own7813afdae6"})) == ["vault"]
    assert left_behind("azure-name-taken", made(VAULT, "vault", {"vaultName": "vault7813afda"})) == []


def _endpoint(name: str, **more: Any) -> list[Resource]:
    role = made("aws:iam/role:Role", "role", outputs={"arn": "arn:aws:iam::1:role/role"})
    address = f"s3://models/packages/minilm/{'ab' * 8}/model.tar.gz"
    model = made(
        "aws:sagemaker/model:Model",
        "model",
        {"executionRoleArn": "arn:aws:iam::1:role/role", "primaryContainer": {"modelDataUrl": address}},
    )
    config = made(
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        "config",
        {"productionVariants": [{"variantName": "main", "modelName": "model", "instanceType": "ml.g5.xlarge"}]},
    )
    endpoint = made(
        "aws:sagemaker/endpoint:Endpoint", "endpoint", {"name": name, "endpointConfigName": "config", **more}
    )
    return [role, model, config, endpoint]


def test_a_scalable_variants_type_is_in_its_endpoints_name() -> None:
    def target(endpoint: str) -> Resource:
        return made("aws:appautoscaling/target:Target", "t", {"resourceId": f"endpoint/{endpoint}/variant/main"})

    rule = "sagemaker-type-under-target"
    assert refused(rule, *_endpoint("burst"), target("burst")) == ["endpoint"]
    assert refused(rule, *_endpoint("burst-ml-g5-xlarge"), target("burst-ml-g5-xlarge")) == []
    assert refused(rule, *_endpoint("burst")) == []


def _deployment(name: str, **options: Any) -> list[Resource]:
    endpoint = made(f"{ML}:OnlineEndpoint", "endpoint", {"endpointName": "burst"})
    inner = {
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        "name": "workspace/burst",
        "properties": {"traffic": {name: 100}},
    }
    step = made("azure-native:resources:Deployment", "step", {"properties": {"template": {"resources": [inner]}}})
    props = {
        "endpointName": "burst",
        "deploymentName": name,
        "properties": {"instanceType": "Standard_NC4as_T4_v3"},
    }
    return [endpoint, step, replace(made(f"{ML}:OnlineDeployment", "blue", props), **options)]


def test_a_deployments_size_is_in_its_name() -> None:
    assert refused("azure-ml-type-create-only", *_deployment("blue")) == ["blue"]
    assert refused("azure-ml-type-create-only", *_deployment("nc4as-t4-v3")) == []


def test_a_deployment_with_traffic_goes_with_its_endpoint() -> None:
    alone = _deployment("blue")
    assert refused("azure-ml-delete-with-traffic", *alone) == ["blue"]
    assert refused("azure-ml-delete-with-traffic", *_deployment("blue", deleted_with=alone[0].urn)) == []


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ({"Tags": {"Key": "stack", "Values": ["a"]}}, False),
        (dict.fromkeys(("And", "CostCategories", "Dimensions", "Not", "Or")) | {"Tags": {"Key": "s"}}, False),
        (
            dict.fromkeys(("And", "CostCategories", "Dimensions", "Not", "Or"))
            | {"Tags": {"Key": "stack", "Values": ["a"], "MatchOptions": None}},
            True,
        ),
    ],
)
def test_an_anomaly_monitor_is_asked_for_as_it_is_answered(expression: dict[str, Any], fine: bool) -> None:
    monitor = made(
        "aws:costexplorer/anomalyMonitor:AnomalyMonitor", "m", {"monitorSpecification": json.dumps(expression)}
    )
    assert refused("costexplorer-expression-whole", monitor) == ([] if fine else ["m"])


@pytest.mark.parametrize(
    ("resource", "fine"),
    [
        (f"packages/minilm/{'ab' * 8}/model.tar.gz", False),
        ("packages/minilm/*/model.tar.gz", True),
        ("packages/*", True),
        ("other/*", True),
    ],
)
def test_the_old_fleet_may_read_its_package(resource: str, fine: bool) -> None:
    """A role that may not even read the new one is another rule's matter."""
    statement = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"arn:aws:s3:::models/{resource}"}
    right = made("aws:iam/rolePolicy:RolePolicy", "r", {"role": "role", "policy": json.dumps({"Statement": statement})})
    assert lost("sagemaker-old-package-readable", *_endpoint("burst"), right) == ([] if fine else ["endpoint"])


def test_what_a_rolled_back_endpoint_serves_from_is_kept() -> None:
    guarded = {"deploymentConfig": {"autoRollbackConfiguration": {"alarms": []}}}
    stored = made(
        "aws:s3/bucketObjectv2:BucketObjectv2",
        "package",
        {"bucket": "models", "key": f"packages/minilm/{'ab' * 8}/model.tar.gz"},
    )
    parts = [*_endpoint("burst", **guarded), stored]
    assert lost("sagemaker-old-fleet-kept", *parts) == ["package", "model", "config"]
    assert lost("sagemaker-old-fleet-kept", *_endpoint("burst"), stored) == []
    kept = [replace(part, retain_on_delete=True) for part in parts]
    assert lost("sagemaker-old-fleet-kept", *kept) == []


@pytest.mark.parametrize(
    ("ignored", "fine"), [(("accessConfig.bootstrapClusterCreatorAdminPermissions",), True), ((), False)]
)
def test_a_clusters_bootstrap_right_is_given_at_creation(ignored: tuple[str, ...], fine: bool) -> None:
    """https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/eks/cluster.go: ForceNew"""
    props = {"name": "prod", "accessConfig": {"bootstrapClusterCreatorAdminPermissions": False}}
    cluster = replace(made("aws:eks/cluster:Cluster", "cluster", props), ignore_changes=ignored)
    assert refused("eks-bootstrap-create-only", cluster) == ([] if fine else ["cluster"])
