"""The ``policies:`` block of a stack file: one key a policy, typed by that policy's own settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from policies.catalogue import ALL
from policies.policy import Policy, PolicySettings
from policies.resources import Context, at
from spillway.contracts.settings import Settings

PoliciesSettings = create_model(
    "PoliciesSettings",
    __base__=Settings,
    __doc__="Levels, parameters and exemptions of the policies; docs/reference/policies.md lists them.",
    **{policy.key: (policy.settings, Field(policy.settings(), description=policy.description)) for policy in ALL},  # pyright: ignore[reportArgumentType, reportCallIssue]
)

NAMESPACE = "spillway"


def settings_of(policy: Policy, settings: Settings) -> PolicySettings:
    """One policy's part of :data:`PoliciesSettings`."""
    return getattr(settings, policy.key)


def read_config(config: Mapping[str, str], root: Path) -> tuple[Settings, Context]:
    """Settings and context from a stack's flat config (``namespace:key`` → text, structures as JSON).

    ``root``: the project's folder. Raises ``pydantic.ValidationError`` where ``policies:`` is wrong.
    """
    keys = ("policies", "package", "cost_guard", "model_server", "burst")
    given = {key: _structure(config.get(f"{NAMESPACE}:{key}")) for key in keys}
    path = given["package"].get("path")
    prices = given["cost_guard"].get("prices") or {}
    package = root / path if isinstance(path, str) else None
    named = (given["model_server"].get("engine"), at(given["burst"], "sagemaker.engine"))
    engines = tuple(dict.fromkeys(name for name in named if isinstance(name, str)))
    return PoliciesSettings.model_validate(given["policies"]), Context(package, engines, dict(prices))


def _structure(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
