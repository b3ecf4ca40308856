from __future__ import annotations

from spillway.contracts.resources import UNKNOWN
from tests.policies.support import Case, check_case, found, resource

TAGS = {"owner": "team", "cost-centre": "cc-1", "stack": "test"}
BUCKET = "aws:s3/bucket:Bucket"


def test_policy() -> None:
    check_case("required-tags", Case([resource(BUCKET, tags=TAGS)], [resource(BUCKET, tags={"owner": "team"})]))


def test_the_names_are_the_stacks_to_choose() -> None:
    assert found("required-tags", [resource(BUCKET, tags={"team": "ml"})], {"keys": ["team"]}).violations == ()


def test_workloads_have_labels() -> None:
    def deployment(labels: dict[str, str]):
        return resource("kubernetes:apps/v1:Deployment", metadata={"labels": labels})

    labels = {f"spillway.dev/{key}": value for key, value in TAGS.items()}
    check_case("required-tags", Case([deployment(labels)], [deployment(TAGS)]))


def test_tags_that_are_not_known_yet_pass() -> None:
    assert found("required-tags", [resource(BUCKET, tags=UNKNOWN)]).violations == ()
