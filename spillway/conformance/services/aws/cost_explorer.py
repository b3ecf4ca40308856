"""Whether costs can be counted by a tag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, rule
from spillway.contracts.resources import UNKNOWN

_READ: Final = "2026-11-30"
_TAG: Final = "aws:costexplorer/costAllocationTag:CostAllocationTag"


@rule(
    "ce-tag-used",
    "A tag's key can be activated once AWS has seen it on a resource, up to 24 hours after that.",
    Source(
        "AWS Billing: activating user-defined cost allocation tags",
        "https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html",
        _READ,
    ),
)
def _used(graph: Graph) -> Iterator[Found]:
    carried: set[object] = set()
    for resource in graph.resources:
        tags = resource.get("tags")
        if tags is UNKNOWN:
            return
        if resource.type.startswith("aws:") and isinstance(tags, dict):
            carried |= tags.keys()
    for tag in graph.of(_TAG):
        key = tag.get("tagKey")
        if key is not UNKNOWN and key not in carried:
            message = "would fail: no resource carries this tag, so AWS does not know its key"
            yield tag, "tagKey", message, "Activate a key that resources have."


@rule(
    "ce-tag-stays",
    "A cost allocation tag is a setting of the account: the provider deletes it by making the key inactive.",
    Source(
        "AWS Billing: activating user-defined cost allocation tags; terraform-provider-aws:"
        " internal/service/ce/cost_allocation_tag.go",
        "https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html",
        _READ,
    ),
)
def _stays(graph: Graph) -> Iterator[Found]:
    for tag in graph.of(_TAG):
        # A deployer that does not tell what stays does not tell of dependencies either.
        told = tag.dependencies is not None and tag.get("tagKey") is not UNKNOWN
        if told and not tag.retain_on_delete:
            message = "`destroy` would end counting by it for every other stack of the account"
            yield tag, "", message, "Keep it when the stack goes (retain_on_delete)."


RULES: Final[tuple[Rule, ...]] = (_used, _stays)
