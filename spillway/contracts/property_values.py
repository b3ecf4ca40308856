"""Reading properties that may be absent or not known yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def text(value: Any) -> str:
    """A known text, else the empty one."""
    return value if isinstance(value, str) else ""


def items(value: Any) -> list[Mapping[str, Any]]:
    """The known objects of a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def texts(value: Any) -> list[str]:
    """The known texts of a list; a text alone counts as a list of one."""
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def document(value: Any) -> Any:
    """A JSON document that is taken as text; ``None`` where it is not known or no JSON."""
    if not isinstance(value, str):
        return value if isinstance(value, Mapping | list) else None
    try:
        return json.loads(value)
    except ValueError:
        return None
