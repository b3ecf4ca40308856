"""Names that a long prefix or a long region makes too long, where no model of the service says how long they may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import text

_LONGEST: Final = {
    "aws:s3/bucket:Bucket": ("bucket", 63),
    "aws:lb/loadBalancer:LoadBalancer": ("name", 32),
    "aws:lb/targetGroup:TargetGroup": ("name", 32),
    "aws:elasticache/replicationGroup:ReplicationGroup": ("replicationGroupId", 40),
}
"""S3: the bucket naming rules. Elastic Load Balancing and ElastiCache: what the API model says of the name in words."""


def _lengths(graph: Graph) -> Iterator[Finding]:
    for type_, (key, most) in _LONGEST.items():
        for resource in graph.of(type_):
            if (length := len(text(resource.get(key)))) > most:
                yield Finding(
                    "name-length",
                    resource,
                    key,
                    f"would be refused: the name has {length} characters, {most} are allowed",
                    "Shorten `spillway:name` or the stack's name; the region counts, too.",
                )


RULES: Final = (
    Rule(
        "name-length",
        "A bucket's name has at most 63 characters, a load balancer's 32.",
        Source(
            "Amazon S3: bucket naming rules; Elastic Load Balancing API: CreateLoadBalancer",
            "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html",
            "2026-11-29",
        ),
        _lengths,
    ),
)
