"""Roles, policies and who is trusted."""

from __future__ import annotations

import json
from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import ALLOW, OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service
from spillway.twin.aws.services import sts


def _inline_policies(scope: Scope) -> list[dict[str, Any]]:
    return [
        {"RoleName": scope["name"], "PolicyName": policy["name"], "PolicyDocument": policy["policy"]}
        for policy in scope.get("inlinePolicies") or []
        if policy.get("policy")
    ]


def _managed_policies(scope: Scope) -> list[dict[str, Any]]:
    return [{"RoleName": scope["name"], "PolicyArn": arn} for arn in scope.get("managedPolicyArns") or []]


def _empty_role(call: Any, scope: Scope) -> None:
    name = scope["name"]
    for policy in call("ListAttachedRolePolicies", {"RoleName": name})["AttachedPolicies"]:
        call("DetachRolePolicy", {"RoleName": name, "PolicyArn": policy["PolicyArn"]})
    for policy in call("ListRolePolicies", {"RoleName": name})["PolicyNames"]:
        call("DeleteRolePolicy", {"RoleName": name, "PolicyName": policy})


def _policy_version(scope: Scope) -> list[dict[str, Any]]:
    return [{"PolicyArn": scope["id"], "PolicyDocument": scope["policy"], "SetAsDefault": True}]


def _drop_versions(call: Any, scope: Scope) -> None:
    for version in call("ListPolicyVersions", {"PolicyArn": scope["id"]})["Versions"]:
        if not version["IsDefaultVersion"]:
            call("DeletePolicyVersion", {"PolicyArn": scope["id"], "VersionId": version["VersionId"]})


_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)

_ROWS = (
    Row(
        token="aws:iam/role:Role",
        service="iam",
        create="CreateRole",
        id="{name}",
        key={"RoleName": "{id}"},
        read="GetRole",
        live="Role",
        delete="DeleteRole",
        before_delete=_empty_role,
        rename={"assumeRolePolicy": "AssumeRolePolicyDocument"},
        parts=(
            Part(
                "UpdateAssumeRolePolicy",
                ("assumeRolePolicy",),
                rename={"assumeRolePolicy": "PolicyDocument"},
                update_only=True,
            ),
            Part("UpdateRole", ("description", "maxSessionDuration"), update_only=True),
            Part("PutRolePermissionsBoundary", ("permissionsBoundary",), update_only=True),
            Part("PutRolePolicy", ("inlinePolicies",), build=_inline_policies),
            Part("AttachRolePolicy", ("managedPolicyArns",), build=_managed_policies),
        ),
        local=("forceDetachPolicies",),
        outputs={"uniqueId": "@RoleId"},
        tags=Tags("TagRole", "UntagRole", {"RoleName": "{id}"}),
        samples=(
            Sample(
                "role",
                {"assumeRolePolicy": _TRUST, "tags": OWNED},
                change={"description": "new", "tags": {"a": "b"}},
            ),
        ),
    ),
    Row(
        token="aws:iam/rolePolicy:RolePolicy",
        service="iam",
        create="PutRolePolicy",
        id="{role}:{name}",
        rename={"role": "RoleName", "policy": "PolicyDocument"},
        noun="Policy",
        key={"RoleName": "{role}", "PolicyName": "{name}"},
        read="GetRolePolicy",
        delete="DeleteRolePolicy",
        parts=(Part("PutRolePolicy", ("policy",), update_only=True),),
        samples=(Sample("inline", {"role": "$role.id", "policy": ALLOW}),),
    ),
    Row(
        token="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        service="iam",
        create="AttachRolePolicy",
        id="{role}/{policyArn}",
        rename={"role": "RoleName"},
        key={"RoleName": "{role}", "PolicyArn": "{policyArn}"},
        read="ListAttachedRolePolicies",
        read_key={"RoleName": "{role}"},
        live="AttachedPolicies[?PolicyArn=='{policyArn}'] | [0]",
        delete="DetachRolePolicy",
        name="",
        samples=(
            Sample("attachment", {"role": "$role.name", "policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"}),
        ),
    ),
    Row(
        token="aws:iam/policy:Policy",
        service="iam",
        create="CreatePolicy",
        id="@Policy.Arn",
        rename={"policy": "PolicyDocument"},
        key={"PolicyArn": "{id}"},
        read="GetPolicy",
        live="Policy",
        delete="DeletePolicy",
        before_delete=_drop_versions,
        parts=(Part("CreatePolicyVersion", ("policy",), build=_policy_version, update_only=True),),
        local=("delayAfterPolicyCreationInMs",),
        tags=Tags("TagPolicy", "UntagPolicy", {"PolicyArn": "{id}"}),
        samples=(
            Sample(
                "managed", {"policy": ALLOW, "path": "/", "tags": OWNED}, change={"policy": ALLOW.replace("x/*", "y/*")}
            ),
        ),
    ),
    Row(
        token="aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        service="iam",
        create="CreateOpenIDConnectProvider",
        id="@OpenIDConnectProviderArn",
        rename={"clientIdLists": "ClientIDList", "thumbprintLists": "ThumbprintList"},
        key={"OpenIDConnectProviderArn": "{id}"},
        read="GetOpenIDConnectProvider",
        delete="DeleteOpenIDConnectProvider",
        parts=(Part("UpdateOpenIDConnectProviderThumbprint", ("thumbprintLists",), update_only=True),),
        name="",
        outputs={"arn": "{id}"},
        tags=Tags("TagOpenIDConnectProvider", "UntagOpenIDConnectProvider", {"OpenIDConnectProviderArn": "{id}"}),
        samples=(
            Sample(
                "oidc",
                {
                    "url": "https://oidc.example.com/id/1",
                    "clientIdLists": ["sts.amazonaws.com"],
                    "thumbprintLists": ["a" * 40],
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:iam/instanceProfile:InstanceProfile",
        service="iam",
        create="CreateInstanceProfile",
        id="{name}",
        key={"InstanceProfileName": "{id}"},
        read="GetInstanceProfile",
        live="InstanceProfile",
        delete="DeleteInstanceProfile",
        before_delete=lambda call, scope: (
            scope.get("role")
            and call("RemoveRoleFromInstanceProfile", {"InstanceProfileName": scope["id"], "RoleName": scope["role"]})
        ),
        parts=(Part("AddRoleToInstanceProfile", ("role",), rename={"role": "RoleName"}, already="LimitExceeded"),),
        replaces=("role",),
        tags=Tags("TagInstanceProfile", "UntagInstanceProfile", {"InstanceProfileName": "{id}"}),
        samples=(Sample("profile", {"role": "$role.name", "tags": OWNED}),),
    ),
)

_LOOPBACK_IS_TLS = {"aws:SecureTransport": "true"}
"""The twin's AWS is plain HTTP on loopback, which stands for the TLS that the cloud always has."""


def _patch(_: QueueCall) -> None:
    """A policy statement whose condition does not hold says nothing; moto takes it for a denial."""
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult

    permitted = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(
        statement: Any,
        action: str,
        resource: str = "*",
        principal: str | None = None,
        incoming_condition_values: dict[str, str] | None = None,
    ) -> Any:
        values = {**_LOOPBACK_IS_TLS, **(incoming_condition_values or {})}
        if not _holds(statement._statement.get("Condition") or {}, values):
            return PermissionResult.NEUTRAL
        plain = IAMPolicyStatement({key: value for key, value in statement._statement.items() if key != "Condition"})
        return permitted(plain, action, resource, principal, incoming_condition_values)

    patched: Any = IAMPolicyStatement
    patched.is_action_permitted = is_action_permitted


def _holds(condition: dict[str, dict[str, Any]], values: dict[str, str]) -> bool:
    """Whether every ``Bool`` part holds; other operators compare what no caller in the twin has, so they do not."""
    return all(
        operator == "Bool" and values.get(key, "").lower() == str(wanted).lower()
        for operator, wants in condition.items()
        for key, wanted in wants.items()
    )


SERVICE = Service(
    "iam",
    _ROWS,
    answers={
        "EnableOutboundWebIdentityFederation": sts.enable,
        "DisableOutboundWebIdentityFederation": sts.disable,
        "GetOutboundWebIdentityFederationInfo": sts.information,
    },
    patch=_patch,
)
