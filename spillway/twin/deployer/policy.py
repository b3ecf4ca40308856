"""Policies over a plan: what a caller plugs in, so that nothing is created that they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spillway.contracts import resources as plain
from spillway.contracts.resources import Policies
from spillway.twin.deployer.api import DeployerError, Event, OnEvent, Resource
from spillway.twin.provider import UNKNOWN, Secret
from spillway.twin.provider_values import ResourceRef, unwrap

_MASKED: Final = "[secret]"
"""What the Pulumi CLI's events show of a secret."""


def refuse_resource(policies: Policies | None, resource: Resource) -> None:
    """Judge one resource with every input known, right before it is made. Raises :class:`DeployerError`."""
    violations = policies(plain_resources([resource]), whole=False) if policies else ()
    refused = [f"{v.policy}: {v.message}" for v in violations if v.mandatory]
    if refused:
        raise DeployerError("; ".join(refused))


def refuse_violations(policies: Policies | None, resources: Sequence[Resource], on_event: OnEvent) -> None:
    """Tell of violations that only advise; raise :class:`DeployerError` naming the mandatory ones."""
    violations = policies(plain_resources(resources)) if policies else ()
    for violation in violations:
        if not violation.mandatory:
            on_event(Event("log", message=f"{violation.policy}: {violation.message}", urn=violation.urn))
    refused = [f"{v.policy}: {v.message} ({v.urn.rsplit('::', 1)[-1]})" for v in violations if v.mandatory]
    if refused:
        raise DeployerError("Policies refuse this stack; nothing was created.", refused)


def plain_resources(resources: Sequence[Resource]) -> list[plain.Resource]:
    """Resources of a plan as policies see them; components are left out."""
    regions = {resource.urn: unwrap(resource.inputs).get("region") for resource in resources}
    around = {resource.urn: (resource.parent, resource.dependencies) for resource in resources if not resource.custom}
    # The Pulumi CLI's events do not tell dependencies.
    told = any(resource.dependencies for resource in resources)
    return [
        plain.Resource(
            type=resource.type,
            name=resource.name,
            urn=resource.urn,
            props=_plain(resource.inputs, hide=False),
            id=resource.id,
            protect=resource.protect,
            parent=resource.parent,
            dependencies=frozenset(resource.dependencies) if told else None,
            region=str(regions.get(resource.provider) or ""),
            clear=_plain(resource.inputs, hide=True),
            outputs=_plain(resource.outputs, hide=True),
            provider=resource.provider,
            after=plain.waited_for(resource.parent, around),
            deleted_with=resource.deleted_with,
            retain_on_delete=resource.retain_on_delete,
            ignore_changes=resource.ignore_changes,
        )
        for resource in resources
        if resource.custom
    ]


def _plain(value: Any, *, hide: bool) -> Any:
    """``hide``: what is secret becomes ``UNKNOWN``, too."""
    if value is UNKNOWN or (hide and (isinstance(value, Secret) or value == _MASKED)):
        return plain.UNKNOWN
    if isinstance(value, Secret):
        return _plain(value.value, hide=hide)
    if isinstance(value, ResourceRef):
        return unwrap(value)
    if isinstance(value, dict):
        return {key: _plain(item, hide=hide) for key, item in value.items()}
    return [_plain(item, hide=hide) for item in value] if isinstance(value, list) else value
