"""The AWS Load Balancer Controller's rights: what its maintainers publish, less what only other load balancers need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from components.aws_documents import partition

_PUBLISHED: Final = Path(__file__).with_name("balancer_controller_policy.json")
_OF_OTHERS: Final = ("cognito-idp:", "shield:", "waf-regional:", "wafv2:", "elasticloadbalancing:SetWebAcl")
"""Of application load balancers; a Service gets a network load balancer."""


def balancer_controller_statements(region: str) -> list[dict[str, Any]]:
    """IAM statements of controller v3.5.0. Those that are for every resource are for this region alone."""
    text = _PUBLISHED.read_text(encoding="utf-8").replace("arn:aws:", f"arn:{partition(region)}:")
    return list(_bound(json.loads(text)["policy"]["Statement"], region))


def _bound(statements: list[dict[str, Any]], region: str) -> Iterator[dict[str, Any]]:
    for statement in statements:
        actions = [action for action in statement["Action"] if not action.startswith(_OF_OTHERS)]
        changes = [action for action in actions if not action.partition(":")[2].startswith(("Describe", "List", "Get"))]
        bound = {"Condition": {"StringEquals": {"aws:RequestedRegion": region}}}
        everywhere = bool(changes) and statement["Resource"] == "*" and "Condition" not in statement
        yield {**statement, "Action": actions, **(bound if everywhere else {})}
