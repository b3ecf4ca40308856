"""Placement: instance types, regions and accelerators that the organisation allows."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack
from policies.rules.capacity import location, machines
from spillway.contracts.prices import catalogue


class AllowedSettings(PolicySettings):
    """What is allowed."""

    allowed: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Allowed names; ``*`` stands for any letters. By default everything is."""


def _allows(settings: AllowedSettings, name: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in settings.allowed)


def _named(settings: AllowedSettings) -> str:
    return ", ".join(settings.allowed)


def _instance_types(stack: Stack, settings: AllowedSettings) -> Iterator[Finding]:
    for found in machines(stack):
        if not _allows(settings, found.instance_type):
            yield Finding(found.resource, f"its instance type is not one of {_named(settings)}")


def _regions(stack: Stack, settings: AllowedSettings) -> Iterator[Finding]:
    """One finding a region: a stack in the wrong place would fill pages."""
    seen = {"", "global"}
    for resource in stack.resources:
        region = location(resource) if resource.type.startswith(("aws:", "azure-native:")) else ""
        if region not in seen and not _allows(settings, region):
            yield Finding(resource, f"it and others stand in a region that is not one of {_named(settings)}")
        seen.add(region)


def _accelerators(stack: Stack, settings: AllowedSettings) -> Iterator[Finding]:
    if "*" in settings.allowed:
        return
    kinds = {price.instance_type.lower(): price.gpu for price in catalogue()}
    for found in machines(stack):
        if not found.accelerated:
            continue
        kind = kinds.get(found.instance_type.lower())
        if kind is None:
            yield Finding(found.resource, "the price catalogue does not know which accelerator its type has")
        elif not _allows(settings, kind):
            yield Finding(found.resource, f"its accelerator is not one of {_named(settings)}")


POLICIES = (
    Policy(
        "allowed-instance-types",
        "Machines are of the instance types that are allowed.",
        "Choose an allowed type, or add it to `policies.allowed_instance_types.allowed`.",
        _instance_types,
        AllowedSettings,
    ),
    Policy(
        "allowed-regions",
        "Resources stand in the regions that are allowed.",
        "Move the stack (`aws.region`, `azure.location`), or add the region to `policies.allowed_regions.allowed`.",
        _regions,
        AllowedSettings,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "allowed-accelerators",
        "Machines have the accelerators that are allowed, as the price catalogue names them (L4, A10G, T4, …).",
        "Choose an instance type with an allowed accelerator, or add it to `policies.allowed_accelerators.allowed`.",
        _accelerators,
        AllowedSettings,
    ),
)
