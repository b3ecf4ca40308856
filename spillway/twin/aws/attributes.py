"""Settings that SNS and SQS hold as a map of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spillway.twin.aws.row import Scope


def text(value: Any) -> str:
    """A value as SNS and SQS hold it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def attributes(scope: Scope, names: Mapping[str, str]) -> dict[str, str]:
    """Those inputs that are given; ``names``: input -> attribute."""
    return {member: text(scope[name]) for name, member in names.items() if scope.get(name) is not None}
