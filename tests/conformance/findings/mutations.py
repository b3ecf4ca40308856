"""Changes to a planned stack that put a fault back: resources in, resources out, and nothing planned again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from spillway.contracts.resources import Resource
from tests.policies.faults import Fault, changed, removed

__all__ = ["Case", "Fault", "changed", "removed"]


@dataclass(frozen=True)
class Case:
    """A finding in a faulty stack. ``finding``: its ID in docs/reference/findings.md. ``accused``: how the name of the
    resource ends that ``rule`` has to name. ``stack``: the example that is made faulty."""

    finding: str
    rule: str
    accused: str
    fault: Fault
    stack: str = "prod"


def each(type_: str, change: Callable[[Resource], Resource], name: str = "") -> Fault:
    """Every resource of this type whose name ends so, changed."""

    def apply(resources: list[Resource]) -> list[Resource]:
        return [change(one) if one.type == type_ and one.name.endswith(name) else one for one in resources]

    return apply


def option(type_: str, name: str = "", **options: Any) -> Fault:
    """Resource options of every such resource."""
    return each(type_, lambda one: replace(one, **options), name)


def without(type_: str, *names: str) -> Fault:
    """Without the resources of this type whose names end so, if there are any; without names, without all."""
    return lambda resources: [one for one in resources if one.type != type_ or (names and not one.name.endswith(names))]


def added(type_: str, name: str, props: dict[str, Any], id_: str = "", **fields: Any) -> Fault:
    """With one more resource, which stands already."""
    urn = f"urn:pulumi:test::spillway::{type_}::{name}"
    one = Resource(type_, name, urn, props, id=id_ or name, region="us-east-1", **fields)
    return lambda resources: [*resources, one]


def both(*faults: Fault) -> Fault:
    """One after the other."""

    def apply(resources: list[Resource]) -> list[Resource]:
        for fault in faults:
            resources = fault(resources)
        return resources

    return apply


def unawaited(name: str) -> Fault:
    """Nothing waits for the resource of this name any more."""

    def apply(resources: list[Resource]) -> list[Resource]:
        urns = {one.urn for one in resources if one.name.endswith(name)}
        assert urns, f"the plan has no {name}"
        return [
            replace(one, dependencies=(one.dependencies or frozenset()) - urns, after=one.after - urns)
            for one in resources
        ]

    return apply


def routed(site: str, change: Callable[[dict[str, Any]], Any]) -> Fault:
    """The private gateway's route to a site, changed in place."""

    def apply(resource: Resource) -> Resource:
        data = resource.props.get("data") or {}
        if "routing.json" not in data:
            return resource
        table = json.loads(data["routing.json"])
        for one in table["sites"]:
            if one["site"] == site:
                change(one)
        props = copy.deepcopy(dict(resource.props))
        props["data"]["routing.json"] = json.dumps(table)
        return replace(resource, props=props)

    return each("kubernetes:core/v1:ConfigMap", apply)


def of_type(resources: list[Resource], type_: str, name: str = "") -> Resource:
    """The first resource of this type whose name ends so."""
    return next(one for one in resources if one.type == type_ and one.name.endswith(name))
