from __future__ import annotations

from functools import partial

from spillway.conformance.places.tag_rules import RULES
from spillway.contracts.resources import UNKNOWN
from tests.conformance.plan import accused as _accused
from tests.conformance.plan import made

accused = partial(_accused, RULES)
ROLE = "aws:iam/role:Role"
OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"


def test_each_resource_has_tags_that_its_cloud_takes() -> None:
    tags = {"tags": {"project": "R&D (speech)"}}
    assert accused("tags-of-each-cloud", made(ROLE, "role", tags)) == ["role"]
    assert accused("tags-of-each-cloud", made("azure-native:network:VirtualNetwork", "vnet", tags)) == []
    assert accused("tags-of-each-cloud", made(ROLE, "role", {"tags": {"project": UNKNOWN}})) == []
    assert accused("tags-of-each-cloud", made(ROLE, "role", {"tags": UNKNOWN})) == []


def test_an_object_has_ten_at_most() -> None:
    ten = {f"tag-{n}": "x" for n in range(10)}
    assert accused("tags-few", made(OBJECT, "package", {"tags": ten})) == []
    assert accused("tags-few", made(OBJECT, "package", {"tags": {**ten, "more": "x"}})) == ["package"]


def test_traffic_manager_is_stricter() -> None:
    profile = "azure-native:network:Profile"
    for name in ("cost centre", "team:search", "1st"):
        assert accused("azure-tags-strict", made(profile, "dns", {"tags": {name: "x"}})) == ["dns"]
    assert accused("azure-tags-strict", made(profile, "dns", {"tags": {"cost-centre": "x"}})) == []
