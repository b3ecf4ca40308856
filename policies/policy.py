"""What a policy is: a name, a rule, how to mend what it finds, and the settings that a stack gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from policies.resources import Stack
from spillway.contracts.frozen import Settings
from spillway.contracts.resources import Resource

Level = Literal["mandatory", "advisory", "disabled"]
Severity = Literal["low", "medium", "high", "critical"]


class Exemption(Settings):
    """Resources that a policy leaves alone."""

    resource: Annotated[str, Field(min_length=1)]
    """Name of the resource; ``*`` stands for any letters, so ``*-redis`` is the Redis of every stack."""

    rule: Annotated[str, Field(min_length=1)] | None = None
    """Only this rule of the policy, where it has several. Default: all of them."""

    reason: Annotated[str, Field(min_length=10)]
    """Why, in a sentence; it is shown by `spillway check`."""


class PolicySettings(Settings):
    """What every policy takes."""

    level: Level | None = None
    """What a violation does: stop the deployment, warn, or nothing. Default: what the policy says."""

    exempt: tuple[Exemption, ...] = ()
    """Resources that it leaves alone, each with a reason."""


@dataclass(frozen=True)
class Finding:
    """One fault. ``resource``: ``None`` for the stack as a whole. ``message`` never repeats a property's value.

    ``rule`` and ``remedy``: of a policy that has several rules; else the policy's own remediation holds.
    """

    resource: Resource | None
    message: str
    rule: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Policy:
    """One policy. ``check`` yields a finding for each fault.

    ``whole_stack``: the rule compares resources with each other. The others judge each resource by itself, so that the
    Pulumi CLI runs them before that resource is created, with every input known.
    """

    name: str
    description: str
    """What has to hold, in one sentence."""
    remediation: str
    """How to mend it, in one sentence."""
    check: Callable[[Stack, Any], Iterator[Finding]]
    settings: type[PolicySettings] = PolicySettings
    level: Level = "mandatory"
    severity: Severity = "medium"
    whole_stack: bool = False

    @property
    def key(self) -> str:
        """Its key in the stack file, under ``policies:``."""
        return self.name.replace("-", "_")
