"""The one reader of a stack file: from Pulumi's flat config to typed settings, or to every problem in the file's terms.

The program reads its own config with it, the command line what it read from disk, and the policy pack what the Pulumi
CLI hands it. Nothing here imports a provider SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from policies.resources import Context
from policies.settings import PoliciesSettings
from spillway.contracts.frozen import Settings
from spillway.contracts.names import SECRETS_NAMESPACE, STACK_NAMESPACE
from spillway.contracts.problems import Problem, key_of, nearest
from spillway.contracts.validation import problems_of
from stacks.engines import named_engines
from stacks.errors import NAMES, StackConfigError
from stacks.rules import problems_between
from stacks.rules.secrets import missing_secrets
from stacks.rules.stack_name import problems_with_name
from stacks.settings import StackSettings
from stacks.sites import burst_sites

NAMESPACES: Final = (STACK_NAMESPACE, SECRETS_NAMESPACE, "aws", "azure-native", "kubernetes", "pulumi")
"""Namespaces of a stack file: Spillway's two, the providers' own, Pulumi's."""


def read_settings(
    config: Mapping[str, str],
    secret_names: frozenset[str] | None = None,
    hidden: frozenset[str] = frozenset(),
    stack: str | None = None,
) -> StackSettings:
    """Settings that can be deployed. ``config``: ``namespace:key`` → value, structures as JSON.

    ``secret_names``: the names under ``spillway-secrets:``, ``None`` to leave secrets unchecked. ``hidden``: full names
    of keys whose values are secret, so that no error shows them. ``stack``: its name, ``None`` where it has none yet.
    Raises :class:`StackConfigError` with every problem found; nothing has been created then.
    """
    settings = parse_settings(config, hidden)
    problems = [*_strange_namespaces(config), *problems_between(settings, burst_sites(settings))]
    problems += problems_with_name(settings.name, stack)
    if secret_names is not None:
        problems += missing_secrets(settings, secret_names)
    if problems:
        raise StackConfigError(problems)
    return settings


def parse_settings(config: Mapping[str, str], hidden: frozenset[str] = frozenset()) -> StackSettings:
    """Settings whose keys and values are right each by itself; whether they fit together is not asked.

    For callers that only want to know what the file says. Arguments and errors as of :func:`read_settings`.
    """
    try:
        return StackSettings.model_validate(_own_keys(config))
    except ValidationError as error:
        own = frozenset(key.removeprefix(key_of("")) for key in hidden)
        # A namespace that is misspelt is the cause of what is missing under the right one.
        raise StackConfigError(_strange_namespaces(config) or problems_of(error, StackSettings, NAMES, own)) from None


def policy_context(settings: StackSettings, root: Path) -> Context:
    """What the policies are told of a stack besides its resources. ``root``: the project's folder."""
    engines = dict.fromkeys(named_engines(settings, burst_sites(settings)).values())
    images = {settings.connectivity.mirror.image(image): key for key, image in _images(settings)}
    return Context(root / settings.package.path, tuple(engines), dict(settings.cost_guard.prices), images)


def _images(settings: BaseModel, above: str = "") -> Iterator[tuple[str, str]]:
    """Each image that the settings name, after its key."""
    for name, value in settings:
        if isinstance(value, BaseModel):
            yield from _images(value, f"{above}{name}.")
        elif isinstance(value, str) and name.endswith("image"):
            yield key_of(f"{above}{name}"), value


def read_policies(config: Mapping[str, str], root: Path) -> tuple[Settings, Context]:
    """Settings and context of the policy pack under the Pulumi CLI, where it may judge any program.

    A program that is not Spillway's has ``policies:`` alone and no context. Neither has a stack file with faults: the
    program refuses it before it registers anything. Raises :class:`StackConfigError` where ``policies:`` is wrong.
    """
    try:
        settings = parse_settings(config)
    except StackConfigError:
        return _policies_alone(config), Context()
    return settings.policies, policy_context(settings, root)


class _PoliciesAlone(BaseModel):
    policies: PoliciesSettings = PoliciesSettings()  # pyright: ignore[reportInvalidTypeForm]


def _policies_alone(config: Mapping[str, str]) -> Settings:
    try:
        return _PoliciesAlone.model_validate(_own_keys(config)).policies
    except ValidationError as error:
        raise StackConfigError(problems_of(error, _PoliciesAlone, NAMES)) from None


def _own_keys(config: Mapping[str, str]) -> dict[str, Any]:
    start = key_of("")
    return {key.removeprefix(start): _value(text) for key, text in config.items() if key.startswith(start)}


def _strange_namespaces(config: Mapping[str, str]) -> list[Problem]:
    """Keys that nobody would read."""
    strange = sorted(key for key in config if key.split(":")[0] not in NAMESPACES)
    return [
        Problem(
            key,
            "an unknown namespace",
            f"{nearest(key.split(':')[0], NAMESPACES)}allowed: {', '.join(NAMESPACES)}",
        )
        for key in strange
    ]


def _value(text: str) -> Any:
    """Structures come as JSON text, everything else as it is."""
    if re.fullmatch(r"true|false|null|\[.*\]|\{.*\}", text, re.DOTALL):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text
