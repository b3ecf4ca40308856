"""ECR's pull-through caches: what is pulled from them, and who may be the first to ask."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from components.connectivity.image_caches import ImageCaches, ImageCachesArgs, first_pull
from components.connectivity.settings import CACHES, MirrorSettings
from tests.support.recording import Recorded, context, of_type, record

LOGIN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf"
ADDRESS = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/spillway-test"


def caches(mirror: MirrorSettings, prefix: str = "spillway-test") -> tuple[list[Recorded], MirrorSettings]:
    made: list[ImageCaches] = []
    args = ImageCachesArgs(mirror, "eu-west-1", "123456789012")
    resources = record(lambda: made.append(ImageCaches(context(prefix=prefix), args)))
    return of_type(resources, "aws:ecr/pullThroughCacheRule:PullThroughCacheRule"), made[0].mirror


def test_each_registry_gets_a_rule_and_its_images_their_address() -> None:
    rules, mirror = caches(MirrorSettings(pull_through={"docker.io": LOGIN, "quay.io": None}))
    told = {rule.inputs["upstreamRegistryUrl"]: rule.inputs for rule in rules}
    # Docker Hub's API has a host of its own (ECR user guide, "Creating a pull through cache rule").
    assert told["registry-1.docker.io"]["credentialArn"] == LOGIN
    assert "credentialArn" not in told["quay.io"]
    assert mirror.image("redis:8") == f"{ADDRESS}/hub/library/redis:8"
    assert mirror.image("quay.io/prometheus/prometheus:v3") == f"{ADDRESS}/quay/prometheus/prometheus:v3"
    assert mirror.image("nvcr.io/nvidia/tritonserver:1") == "nvcr.io/nvidia/tritonserver:1"


def test_a_mirror_of_ones_own_goes_before_a_cache() -> None:
    given = MirrorSettings(pull_through={"quay.io": None}, images={"quay.io": "r.example.com", "*": "all.example.com"})
    mirror = caches(given)[1]
    assert mirror.image("quay.io/a:1") == "r.example.com/a:1"
    assert mirror.image("nvcr.io/a:1") == "all.example.com/a:1"


def test_the_longest_prefix_of_a_stack_is_one_that_ecr_takes() -> None:
    """botocore, CreatePullThroughCacheRule: 2 to 30 characters."""
    every: MirrorSettings = MirrorSettings(pull_through=dict.fromkeys(CACHES, LOGIN))
    rules, _ = caches(every, prefix="spillway-abcdefg-release")
    for rule in rules:
        assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9]+", prefix := rule.inputs["ecrRepositoryPrefix"])
        assert 2 <= len(prefix) <= 30


def test_the_first_pull_makes_the_repository() -> None:
    right = first_pull(context(), "eu-west-1", "123456789012")
    assert set(right["Action"]) == {"ecr:CreateRepository", "ecr:BatchImportUpstreamImage"}
    assert right["Resource"] == "arn:aws:ecr:eu-west-1:123456789012:repository/spillway-test/*"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"docker.io": None}, "a log-in only"),
        ({"ghcr.io": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hub"}, "pattern"),
        ({"nvcr.io": None}, "registry.k8s.io"),
    ],
)
def test_what_ecr_does_not_cache_is_refused(given: dict[str, str | None], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MirrorSettings.model_validate({"pull_through": given})
