"""Policies over a plan: what a caller plugs in, so that nothing is created that they refuse."""

from __future__ import annotations

from collections.abc import Sequence

from spillway.engine.api import EngineError, Event, OnEvent, Policies, Resource


def refuse_resource(policies: Policies | None, resource: Resource) -> None:
    """Judge one resource with every input known, right before it is made. Raises :class:`EngineError`."""
    violations = policies([resource], whole=False) if policies else ()
    refused = [f"{v.policy}: {v.message}" for v in violations if v.mandatory]
    if refused:
        raise EngineError("; ".join(refused))


def refuse_violations(policies: Policies | None, resources: Sequence[Resource], on_event: OnEvent) -> None:
    """Tell every violation; raise :class:`EngineError` naming the mandatory ones."""
    violations = policies(resources) if policies else ()
    for violation in violations:
        on_event(Event("log", message=f"{violation.policy}: {violation.message}", urn=violation.urn))
    refused = [f"{v.policy}: {v.message} ({v.urn.rsplit('::', 1)[-1]})" for v in violations if v.mandatory]
    if refused:
        raise EngineError("Policies refuse this stack; nothing was created.", refused)
