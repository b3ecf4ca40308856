from __future__ import annotations

from tests.policies.support import Case, check_case, found, resource

BUCKET = "aws:s3/bucket:Bucket"


def test_policy() -> None:
    check_case("protected-data", Case([resource(BUCKET, protected=True)], [resource(BUCKET)]))


def test_which_types_hold_data_is_the_stacks_to_choose() -> None:
    assert found("protected-data", [resource(BUCKET)], {"types": ["aws:rds/instance:Instance"]}).violations == ()
