from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, resource

BUCKET = resource("aws:s3/bucket:Bucket", bucket="models-bucket")


def block(**switches: Any) -> Resource:
    names = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    all_on = dict.fromkeys(names, True)
    return resource(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", bucket="models-bucket", **{**all_on, **switches}
    )


def bucket_policy(**statement: object) -> Resource:
    given = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*", **statement}
    return resource("aws:s3/bucketPolicy:BucketPolicy", policy=json.dumps({"Statement": [given]}))


def listener(**props: object) -> Resource:
    given = {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06", **props}
    return resource("aws:lb/listener:Listener", **given)


CASES = {
    "private-buckets": Case([BUCKET, block()], [BUCKET, block(blockPublicPolicy=False)]),
    "encrypted-transport": Case([listener()], [listener(protocol="HTTP", sslPolicy=None)]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_a_bucket_without_a_block_is_public() -> None:
    check_case("private-buckets", Case([], [BUCKET]))


def test_a_policy_for_everybody_needs_a_condition() -> None:
    bounded = bucket_policy(Condition={"StringEquals": {"aws:PrincipalAccount": "123456789012"}})
    check_case("private-buckets", Case([bounded], [bucket_policy()]))


def test_containers_and_accounts_of_azure() -> None:
    container = "azure-native:storage:BlobContainer"
    account = "azure-native:storage:StorageAccount"
    closed = [resource(container, publicAccess="None"), resource(account, minimumTlsVersion="TLS1_2")]
    check_case("private-buckets", Case(closed, [resource(container, publicAccess="Container")]))
    check_case("private-buckets", Case(closed, [resource(account, allowBlobPublicAccess=True)]))
    check_case("encrypted-transport", Case(closed, [resource(account, minimumTlsVersion="TLS1_0")]))


def test_an_old_security_policy_is_refused_and_a_redirect_is_not() -> None:
    redirect = listener(protocol="HTTP", sslPolicy=None, defaultActions=[{"type": "redirect"}])
    check_case("encrypted-transport", Case([redirect], [listener(sslPolicy="ELBSecurityPolicy-2016-08")]))
