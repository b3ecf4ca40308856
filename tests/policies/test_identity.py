from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.contracts.resources import UNKNOWN, Resource
from tests.policies.support import Case, check_case, found, resource


def rights(action: Any, target: Any = "arn:aws:s3:::models/*", **more: Any) -> Resource:
    statement = {"Effect": "Allow", "Action": action, "Resource": target, **more}
    return resource("aws:iam/rolePolicy:RolePolicy", policy=json.dumps({"Statement": [statement]}))


def role(**statement: Any) -> Resource:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", **statement}
    return resource("aws:iam/role:Role", assumeRolePolicy=json.dumps({"Statement": [trust]}))


def template(tokens: str) -> Resource:
    return resource("aws:ec2/launchTemplate:LaunchTemplate", metadataOptions={"httpTokens": tokens})


def registry(admin: bool) -> Resource:
    return resource("azure-native:containerregistry:Registry", adminUserEnabled=admin)


SERVICE = role(Principal={"Service": "ecs-tasks.amazonaws.com"})
CASES = {
    "imdsv2": Case([template("required")], [template("optional")]),
    "no-wildcard-rights": Case([rights("s3:GetObject")], [rights("s3:*")]),
    "no-open-trust": Case([SERVICE], [role(Principal={"AWS": "*"})]),
    "no-shared-credentials": Case([registry(False)], [registry(True)]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


@pytest.mark.parametrize(
    "fault",
    [
        rights("*"),
        rights(["s3:GetObject", "iam:*"]),
        rights("s3:PutObject", "*"),
        resource("aws:iam/rolePolicy:RolePolicy", policy='{"Statement": {"Effect": "Allow", "NotAction": "iam:*"}}'),
        resource(
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment", policyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        ),
        resource(
            "azure-native:authorization:RoleAssignment",
            roleDefinitionId="/subscriptions/s/providers/x/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
            scope="/subscriptions/s/resourceGroups/g",
        ),
    ],
)
def test_wide_rights(fault: Resource) -> None:
    check_case("no-wildcard-rights", Case([], [fault]))


@pytest.mark.parametrize(
    "sound",
    [
        rights("ec2:DescribeInstances", "*"),
        rights("cloudwatch:PutMetricData", "*"),
        rights("s3:PutObject", "*", Condition={"StringEquals": {"aws:ResourceTag/stack": "prod"}}),
        rights("s3:*", Effect="Deny"),
        resource("aws:iam/rolePolicy:RolePolicy", policy=UNKNOWN),
        resource(
            "azure-native:authorization:RoleAssignment",
            roleDefinitionId="/subscriptions/s/providers/x/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c",
            scope="/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        ),
    ],
)
def test_rights_that_are_needed(sound: Resource) -> None:
    assert found("no-wildcard-rights", [sound]).violations == ()


def test_a_federated_role_names_its_subject() -> None:
    federated = {"Principal": {"Federated": "arn:oidc"}, "Action": "sts:AssumeRoleWithWebIdentity"}
    named = {"StringEquals": {"issuer.example:sub": "system:serviceaccount:a:b"}}
    anyone = {"StringEquals": {"issuer.example:aud": "sts.amazonaws.com"}}
    check_case("no-open-trust", Case([role(**federated, Condition=named)], [role(**federated, Condition=anyone)]))


def test_keys_that_never_expire() -> None:
    check_case("no-shared-credentials", Case([], [resource("aws:iam/accessKey:AccessKey", user="robot-user")]))
    account = "azure-native:storage:StorageAccount"
    check_case("no-shared-credentials", Case([resource(account, allowSharedKeyAccess=False)], [resource(account)]))
