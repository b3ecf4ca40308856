"""The generated part of the reference page ``policies.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from policies.catalogue import ALL, CONCERNS
from policies.policy import Policy, PolicySettings
from spillway.contracts.schema_tables import one_line, table

_HEAD: Final = ("Policy", "Key", "Level", "Severity", "What has to hold", "How to mend it")


def policies() -> str:
    """Every policy by concern, each concern with its parameters."""
    return "\n\n".join((f"{len(ALL)} policies.", *_sections()))


def _sections() -> Iterator[str]:
    for title, module in CONCERNS.items():
        yield f"## {title}"
        yield one_line((module.__doc__ or "").split("\n\n")[0])
        yield table(_HEAD, map(_cells, module.POLICIES))
        if parameters := [cells for policy in module.POLICIES for cells in _parameters(policy)]:
            yield table(("Parameter", "Default", "Meaning"), parameters)


def _cells(policy: Policy) -> tuple[str, ...]:
    key = f"`{policy.key}`"
    return f"`{policy.name}`", key, policy.level, policy.severity, policy.description, policy.remediation


def _parameters(policy: Policy) -> Iterator[tuple[str, str, str]]:
    for name, field in policy.settings.model_fields.items():
        if name not in PolicySettings.model_fields:
            default = _default(field.get_default(call_default_factory=True))
            yield f"`{policy.key}.{name}`", default, one_line(field.description or "")


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value}`" if value != {} else "none"
