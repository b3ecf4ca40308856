"""Blobs of the provider: https://github.com/pulumi/pulumi-azure-native/issues/2015"""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.packages import FAMILY
from tests.conformance.flows.plans import asked, azure, made, world


@pytest.mark.parametrize(
    ("props", "paths"),
    [
        ({"networkRuleSet": {"defaultAction": "Deny", "ipRules": [{"iPAddressOrRange": "192.0.2.0/24"}]}}, set[str]()),
        ({"publicNetworkAccess": "Disabled"}, {"publicNetworkAccess"}),
        ({"allowSharedKeyAccess": False}, {"allowSharedKeyAccess"}),
        ({"networkRuleSet": {"defaultAction": "Deny"}}, {"networkRuleSet"}),
    ],
)
def test_the_deployer_uploads_blobs(props: dict[str, Any], paths: set[str]) -> None:
    account = azure("storage:StorageAccount", "store", {"accountName": "store", **props})
    blob = azure("storage:Blob", "blob", {"accountName": "store"})
    assert {one.path for flow in FAMILY.flows(world(account, blob)) for one in asked(flow.doors)} == paths


def test_a_denial_of_the_bucket_stops_uploads() -> None:
    bucket = made("aws:s3/bucket:Bucket", "bucket")
    package = made("aws:s3/bucketObjectv2:BucketObjectv2", "package", {"bucket": "bucket"})
    denial = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"}]}'
    kind = "aws:s3/bucketPolicy:BucketPolicy"

    def closed(*resources: Any) -> list[str]:
        return [one.path for flow in FAMILY.flows(world(bucket, package, *resources)) for one in asked(flow.doors)]

    assert closed() == []
    assert closed(made(kind, "policy", {"bucket": "bucket", "policy": denial})) == ["policy"]
