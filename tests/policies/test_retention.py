from __future__ import annotations

import pytest

from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, resource

BUCKET = resource("aws:s3/bucket:Bucket", bucket="models-bucket")
LIFECYCLE = resource("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", bucket="models-bucket")


def logs(days: int | None) -> Resource:
    return resource("aws:cloudwatch/logGroup:LogGroup", retentionInDays=days)


CASES = {
    "log-retention": Case([logs(90)], [logs(None)]),
    "bucket-lifecycle": Case([BUCKET, LIFECYCLE], [BUCKET]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_the_bounds_hold_on_both_sides() -> None:
    bounds = {"min_days": 30, "max_days": 90}
    check_case("log-retention", Case([logs(30), logs(90)], [logs(7)], bounds))
    check_case("log-retention", Case([], [logs(365)], bounds))
    check_case("log-retention", Case([], [resource("azure-native:operationalinsights:Workspace", retentionInDays=7)]))
