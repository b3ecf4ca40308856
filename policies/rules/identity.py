"""Identity: rights no wider than needed, and no credentials that are shared or easily stolen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_not_true, is_other_than, is_true
from policies.rules.capacity import COMPUTE, INSTANCE, LAUNCH_TEMPLATE, MANAGED_CLUSTER
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.property_values import document, texts
from spillway.contracts.resources import UNKNOWN, Resource, at


def everybody(principal: Any) -> bool:
    """Whether a policy's principal is anybody at all."""
    return principal == "*" or (isinstance(principal, dict) and "*" in texts(principal.get("AWS")))


def _imdsv2(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for template in stack.of(LAUNCH_TEMPLATE):
        if is_other_than(template.get("metadataOptions.httpTokens"), "required"):
            yield Finding(template, "metadataOptions.httpTokens has to be required")
    for instance in stack.of(INSTANCE):
        given = instance.get("metadataOptions.httpTokens")
        from_template = is_missing(given) and not is_missing(instance.get("launchTemplate"))
        if is_other_than(given, "required") and not from_template:
            yield Finding(instance, "metadataOptions.httpTokens has to be required")


_POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
_ADMINISTRATORS = ("policy/AdministratorAccess", "policy/PowerUserAccess", "policy/IAMFullAccess")
_AZURE_OWNERS = tuple(ROLES[name] for name in ("Owner", "Contributor", "User Access Administrator"))


def _wildcards(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for policy in stack.of(*_POLICIES):
        yield from _statements(policy, policy.get("policy"), "policy")
    for role in stack.of("aws:iam/role:Role"):
        for index, inline in enumerate(entries(role.get("inlinePolicies"))):
            yield from _statements(role, inline.get("policy"), f"inlinePolicies.{index}.policy")
        for arn in texts(role.get("managedPolicyArns")):
            if arn.endswith(_ADMINISTRATORS):
                yield Finding(role, "managedPolicyArns makes it an administrator")
    for attachment in stack.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
        arn = attachment.get("policyArn")
        if isinstance(arn, str) and arn.endswith(_ADMINISTRATORS):
            yield Finding(attachment, "policyArn makes the role an administrator")
    for assignment in stack.of("azure-native:authorization:RoleAssignment"):
        role, scope = assignment.get("roleDefinitionId"), assignment.get("scope")
        # What is below a provider is one resource: a workspace's identity has to contribute to each of its parts.
        one_resource = scope is UNKNOWN or (isinstance(scope, str) and "/providers/" in scope)
        if isinstance(role, str) and role.lower().endswith(_AZURE_OWNERS) and not one_resource:
            yield Finding(assignment, "roleDefinitionId makes it an owner or contributor of everything in its scope")


def _statements(resource: Resource, text: Any, path: str) -> Iterator[Finding]:
    for index, statement in enumerate(entries(at(document(text), "Statement"))):
        if statement.get("Effect") != "Allow":
            continue
        where = f"{path}.Statement.{index}"
        actions = texts(statement.get("Action"))
        if statement.get("NotAction"):
            yield Finding(resource, f"{where}.NotAction allows all that it does not name")
        elif any(action == "*" or action.endswith(":*") for action in actions):
            yield Finding(resource, f"{where}.Action allows every action of a service")
        elif "*" in texts(statement.get("Resource")) and not statement.get("Condition") and not _only_reads(actions):
            yield Finding(resource, f"{where}.Resource allows changes to every resource, without a condition")


_READ_VERBS = ("Describe", "List", "Get", "BatchGet", "Search", "View")
_NO_RESOURCE = {
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "logs:CreateLogDelivery",
}
"""Actions for which IAM takes no resource but ``*``."""


def _only_reads(actions: list[str]) -> bool:
    return all(a in _NO_RESOURCE or a.partition(":")[2].startswith(_READ_VERBS) for a in actions)


def _trust(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for role in stack.of("aws:iam/role:Role"):
        for index, statement in enumerate(entries(at(document(role.get("assumeRolePolicy")), "Statement"))):
            if statement.get("Effect") != "Allow":
                continue
            where = f"assumeRolePolicy.Statement.{index}"
            if everybody(statement.get("Principal")):
                yield Finding(role, f"{where}.Principal lets everybody assume it")
            elif at(statement, "Principal.Federated") and not _names_subject(statement.get("Condition")):
                yield Finding(role, f"{where}.Condition names no subject, so each of the issuer's workloads may")


def _names_subject(condition: Any) -> bool:
    tests = condition.values() if isinstance(condition, dict) else ()
    return any(key.endswith(":sub") for test in tests if isinstance(test, dict) for key in test)


def _shared(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for registry in stack.of("azure-native:containerregistry:Registry"):
        if is_true(registry.get("adminUserEnabled")):
            yield Finding(registry, "adminUserEnabled has to be false")
    for account in stack.of("azure-native:storage:StorageAccount"):
        if account.get("allowSharedKeyAccess") in (None, True):
            yield Finding(account, "allowSharedKeyAccess has to be false")
    for cluster in stack.of(MANAGED_CLUSTER):
        if is_not_true(cluster.get("disableLocalAccounts")):
            yield Finding(cluster, "disableLocalAccounts has to be true")
    for compute in stack.of(COMPUTE):
        if is_not_true(compute.get("properties.disableLocalAuth")):
            yield Finding(compute, "properties.disableLocalAuth has to be true")
    for key in stack.of("aws:iam/accessKey:AccessKey", "aws:iam/userLoginProfile:UserLoginProfile"):
        yield Finding(key, "it is a credential that never expires")


POLICIES = (
    Policy(
        "imdsv2",
        "Machines answer version 2 of the metadata service only.",
        "Set `metadataOptions.httpTokens: required`; version 1 gives the role away to whoever forges a request.",
        _imdsv2,
        severity="high",
    ),
    Policy(
        "no-wildcard-rights",
        "No IAM policy allows every action of a service, or changes to every resource; no Azure role owns its scope.",
        "Name the actions and the resources; where `Resource` has to be `*`, add a condition.",
        _wildcards,
        severity="critical",
    ),
    Policy(
        "no-open-trust",
        "A role is assumed by named principals only; a federated one names its subject.",
        "Name the principal, and for OIDC add a condition on `:sub`.",
        _trust,
        severity="critical",
    ),
    Policy(
        "no-shared-credentials",
        "Nobody signs in with an account key, an administrator's password or an access key that never expires.",
        "Switch local and key access off; use roles, managed and federated identities.",
        _shared,
        severity="high",
    ),
)
