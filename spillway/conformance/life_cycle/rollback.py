"""What the old fleet still needs during a canary, and after a rollback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.access import endpoint_config, endpoints_with_models
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import document, items, text, texts
from spillway.contracts.resources import Resource

_VERSION: Final = re.compile(r"[0-9a-f]{12,64}|v?\d+(\.\d+)+")
_OBJECT: Final = ("aws:s3/bucketObjectv2:BucketObjectv2", "aws:s3/bucketObject:BucketObject")


def _objects(model: Resource) -> Iterator[str]:
    """The ``s3://`` addresses that a model is loaded from."""
    for container in (model.get("primaryContainer"), *items(model.get("containers"))):
        if not isinstance(container, dict):
            continue
        sources = items((container.get("modelDataSource") or {}).get("s3DataSources"))
        addresses = [container.get("modelDataUrl"), *(source.get("s3Uri") for source in sources)]
        yield from (address for address in addresses if text(address).startswith("s3://"))


def _older(address: str) -> str | None:
    """The address of another version, ``None`` where none can be told from it."""
    head, slash, tail = address.removeprefix("s3://").partition("/")
    parts = tail.split("/")
    found = next((i for i, part in enumerate(parts) if _VERSION.fullmatch(part)), None)
    if found is None or not slash:
        return None
    parts[found] = "0" * 16
    return f"{head}/{'/'.join(parts)}"


def _may_read(graph: Graph, role: Resource, target: str) -> bool:
    """Whether a statement of the role lets it get an object. Unknown documents may hold anything."""
    for right in graph.of("aws:iam/rolePolicy:RolePolicy"):
        if graph.named(right.get("role"), role.type) is not role:
            continue
        found = document(right.get("policy"))
        if found is None:
            return True
        if any(_allows(statement, target) for statement in _statements(found)):
            return True
    return False


def _statements(found: Any) -> list[Any]:
    statements = found.get("Statement") if isinstance(found, dict) else None
    return [statements] if isinstance(statements, dict) else items(statements)


def _allows(statement: Any, target: str) -> bool:
    actions, resources = texts(statement.get("Action")), texts(statement.get("Resource"))
    reads = any(fnmatchcase("s3:GetObject", action) for action in actions)
    return (
        statement.get("Effect") == "Allow"
        and reads
        and any(fnmatchcase(target, re.sub(r"^arn:[\w-]+:s3:::", "", resource)) for resource in resources)
    )


def _old_packages_readable(graph: Graph) -> Iterator[Finding]:
    for endpoint, model in endpoints_with_models(graph):
        role = graph.named(model.get("executionRoleArn"), "aws:iam/role:Role")
        for address in _objects(model):
            older = _older(address)
            if role is None or older is None or not _may_read(graph, role, address.removeprefix("s3://")):
                continue
            if not _may_read(graph, role, older):
                yield Finding(
                    "sagemaker-old-package-readable",
                    endpoint,
                    "",
                    f"its role {role.name} may read the current package alone: the role changes before the endpoint"
                    " does, so during a canary and after a rollback the old fleet cannot start an instance",
                    "Let the role read every version of the package.",
                )


def _old_fleet_kept(graph: Graph) -> Iterator[Finding]:
    """What an endpoint that rolls back by itself serves from, of which Pulumi deletes the old after each update."""
    for endpoint, model in endpoints_with_models(graph):
        if not endpoint.get("deploymentConfig.autoRollbackConfiguration"):
            continue
        used = [address.removeprefix("s3://") for address in _objects(model)]
        packages = [r for r in graph.of(*_OBJECT) if any(_place(r).startswith(address) for address in used)]
        config = endpoint_config(graph, endpoint)
        for served in (*packages, model, *((config,) if config else ())):
            if not served.retain_on_delete:
                yield Finding(
                    "sagemaker-old-fleet-kept",
                    served,
                    "",
                    f"a new one deletes it as soon as the update of {endpoint.name} has ended, well or not: after a"
                    " rollback the endpoint serves from what the next `up` deletes",
                    "Keep it (the option `retainOnDelete`), and end what no endpoint serves any more on another day.",
                )


def _place(stored: Resource) -> str:
    return f"{text(stored.get('bucket'))}/{text(stored.get('key'))}"


RULES: Final = (
    Rule(
        "sagemaker-old-package-readable",
        "Both fleets run during a canary, and the old one after a rollback: each instance downloads its package.",
        Source(
            "Amazon SageMaker AI: use canary traffic shifting",
            "https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green-canary.html",
            "2026-11-29",
        ),
        _old_packages_readable,
    ),
    Rule(
        "sagemaker-old-fleet-kept",
        "After an automatic rollback the endpoint serves the old configuration, model and package.",
        Source(
            "Amazon SageMaker AI: auto-rollback configuration and monitoring",
            "https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html",
            "2026-11-29",
        ),
        _old_fleet_kept,
    ),
)
