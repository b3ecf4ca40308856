"""Tags that a cloud would refuse, of each resource that has some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.tags import MOST_TAGS_OF_AN_OBJECT, Cloud, tag_problems

_CLOUDS: Final[dict[str, Cloud]] = {"aws": "aws", "azure-native": "azure"}
_STRICT: Final = ("azure-native:network:Profile", "azure-native:trafficmanager:Profile", "azure-native:dns:Zone")
"""No spaces, no `#`, no `:` in a tag's name, and no digit at its beginning."""
_FEW: Final = ("azure-native:dns:Zone", "azure-native:privatedns:PrivateZone", "azure-native:network:PrivateZone")
_MOST_TAGS_OF_A_ZONE: Final = 15
_OBJECTS: Final = ("aws:s3/bucketObjectv2:BucketObjectv2", "aws:s3/bucketObject:BucketObject")
_REMEDY: Final = "Write it otherwise in `spillway:tags`."


def _tags(graph: Graph) -> Iterator[Finding]:
    for resource in graph.resources:
        cloud = _CLOUDS.get(resource.type.partition(":")[0])
        tags = resource.get("tags")
        if cloud is None or not isinstance(tags, dict):
            continue
        for key, problem in tag_problems(tags, cloud):
            path = f"tags.{key}" if key else "tags"
            yield Finding("tags-of-each-cloud", resource, path, f"would be refused: {problem}", _REMEDY)


def _fewer(graph: Graph) -> Iterator[Finding]:
    for types, most in ((_OBJECTS, MOST_TAGS_OF_AN_OBJECT), (_FEW, _MOST_TAGS_OF_A_ZONE)):
        for resource in graph.of(*types):
            tags = resource.get("tags")
            if isinstance(tags, dict) and len(tags) > most:
                message = f"would be refused: {len(tags)} tags, where this kind has at most {most}"
                yield Finding("tags-few", resource, "tags", message, "Leave out some of `spillway:tags`.")


def _strict(graph: Graph) -> Iterator[Finding]:
    for resource in graph.of(*_STRICT):
        tags = resource.get("tags")
        for key in tags if isinstance(tags, dict) else ():
            if any(letter in key for letter in " #:") or key[:1].isdigit():
                message = "would be refused: no space, # or : in a tag's name here, and no digit at its beginning"
                yield Finding("azure-tags-strict", resource, f"tags.{key}", message, _REMEDY)


_AZURE: Final = Source(
    "Azure: use tags to organize your resources",
    "https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources",
    "2026-11-29",
)
RULES: Final = (
    Rule(
        "tags-of-each-cloud",
        "Tags have the characters, the length and the number that the resource's cloud takes, and differ by more than"
        " case.",
        Source(
            "AWS: tag naming limits and requirements; Azure: tag limitations",
            "https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html",
            "2026-11-29",
        ),
        _tags,
    ),
    Rule(
        "tags-few",
        "An object in S3 has at most 10 tags, an Azure DNS zone at most 15.",
        Source(
            "Amazon S3: categorizing objects with tags; Azure: tag limitations",
            "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html",
            "2026-11-29",
        ),
        _fewer,
    ),
    Rule(
        "azure-tags-strict",
        "Traffic Manager and DNS zones take no space, # or : in a tag's name, and no digit at its beginning.",
        _AZURE,
        _strict,
    ),
)
