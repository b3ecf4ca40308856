from __future__ import annotations

from typing import Any

import pytest

from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, resource

BUCKET = resource("aws:s3/bucket:Bucket", bucket="models-bucket")


def template(encrypted: str) -> Resource:
    return resource("aws:ec2/launchTemplate:LaunchTemplate", blockDeviceMappings=[{"ebs": {"encrypted": encrypted}}])


def encryption(algorithm: str, key: str | None) -> Resource:
    default = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": algorithm, "kmsMasterKeyId": key}}
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    return resource(kind, bucket="models-bucket", rules=[default])


def kms_key(rotates: bool) -> Resource:
    return resource("aws:kms/key:Key", enableKeyRotation=rotates)


CASES = {
    "encrypted-volumes": Case([template("true")], [template("false")]),
    "own-keys": Case([BUCKET, encryption("aws:kms", "arn:key")], [BUCKET, encryption("AES256", None)]),
    "key-care": Case([kms_key(True)], [kms_key(False)]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("aws:cloudwatch/logGroup:LogGroup", "kmsKeyId"),
        ("aws:secretsmanager/secret:Secret", "kmsKeyId"),
        ("aws:sns/topic:Topic", "kmsMasterKeyId"),
        ("aws:sqs/queue:Queue", "kmsMasterKeyId"),
        ("aws:lambda/function:Function", "kmsKeyArn"),
    ],
)
def test_what_holds_data_names_its_key(kind: str, key: str) -> None:
    named: dict[str, Any] = {key: "arn:key"}
    check_case("own-keys", Case([resource(kind, **named)], [resource(kind)]))


def test_a_queue_may_use_the_key_of_its_service() -> None:
    check_case("own-keys", Case([resource("aws:sqs/queue:Queue", sqsManagedSseEnabled=True)], [BUCKET]))


@pytest.mark.parametrize("kind", ["aws:ebs/volume:Volume", "aws:efs/fileSystem:FileSystem"])
def test_volumes(kind: str) -> None:
    check_case("encrypted-volumes", Case([resource(kind, encrypted=True)], [resource(kind)]))


def test_machines_and_pools() -> None:
    instance, pool = "aws:ec2/instance:Instance", "azure-native:containerservice:AgentPool"
    by_template = resource(instance, launchTemplate={"id": "lt-1"})
    check_case("encrypted-volumes", Case([by_template], [resource(instance, instanceType="t3.small")]))
    check_case("encrypted-volumes", Case([resource(pool, enableEncryptionAtHost=True)], [resource(pool)]))


def test_a_vault_can_be_brought_back() -> None:
    def vault(purge: bool) -> Resource:
        properties = {"enableSoftDelete": True, "enablePurgeProtection": purge}
        return resource("azure-native:keyvault:Vault", properties=properties)

    check_case("key-care", Case([vault(True)], [vault(False)]))
