"""Who may do what, and with which keys: IAM, KMS, Roles Anywhere, Secrets Manager, certificates."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags

KMS_TAGS = Tags("TagResource", "UntagResource", {"KeyId": "{id}"})


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


def _rotation(scope: Scope) -> list[dict[str, Any]]:
    period = {"RotationPeriodInDays": scope["rotationPeriodInDays"]} if scope.get("rotationPeriodInDays") else {}
    return [{"KeyId": scope["id"], **period}] if scope.get("enableKeyRotation") else []


def _no_rotation(scope: Scope) -> list[dict[str, Any]]:
    return [] if scope.get("enableKeyRotation") else [{"KeyId": scope["id"]}]


def _policy_version(scope: Scope) -> list[dict[str, Any]]:
    return [{"PolicyArn": scope["id"], "PolicyDocument": scope["policy"], "SetAsDefault": True}]


def _drop_versions(call: Any, scope: Scope) -> None:
    for version in call("ListPolicyVersions", {"PolicyArn": scope["id"]})["Versions"]:
        if not version["IsDefaultVersion"]:
            call("DeletePolicyVersion", {"PolicyArn": scope["id"], "VersionId": version["VersionId"]})


def _roles_anywhere(noun: str, member: str, **more: Any) -> Row:
    return Row(
        token=f"aws:rolesanywhere/{noun[0].lower()}{noun[1:]}:{noun}",
        service="rolesanywhere",
        create=f"Create{noun}",
        id=f"@{member}.{member}Id",
        read=f"Get{noun}",
        live=member,
        delete=f"Delete{noun}",
        key={f"{member}Id": "{id}"},
        outputs={"arn": f"@{member}Arn"},
        tags=Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys"),
        parts=(Part(f"Update{noun}", update_only=True),),
        coverage="recorded",
        **more,
    )


ROWS = (
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
    ),
    Row(
        token="aws:kms/key:Key",
        service="kms",
        create="CreateKey",
        id="@KeyMetadata.KeyId",
        key={"KeyId": "{id}"},
        rename={"bypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck"}
        | {"customerMasterKeySpec": "KeySpec"},
        read="DescribeKey",
        live="KeyMetadata",
        gone="KeyState=='PendingDeletion'",
        delete="ScheduleKeyDeletion",
        delete_key={"KeyId": "{id}", "PendingWindowInDays": "{deletionWindowInDays}"},
        parts=(
            Part("EnableKeyRotation", ("enableKeyRotation", "rotationPeriodInDays"), build=_rotation),
            Part("DisableKeyRotation", ("enableKeyRotation",), build=_no_rotation, update_only=True),
            Part("PutKeyPolicy", ("policy",), update_only=True),
            Part("UpdateKeyDescription", ("description",), update_only=True),
        ),
        local=("deletionWindowInDays", "isEnabled"),
        outputs={"keyId": "{id}", "arn": "@Arn"},
        name="",
        tags=KMS_TAGS,
    ),
    Row(
        token="aws:kms/alias:Alias",
        service="kms",
        create="CreateAlias",
        id="{name}",
        key={"AliasName": "{id}"},
        read="ListAliases",
        read_key={},
        live="Aliases[?AliasName=='{id}'] | [0]",
        delete="DeleteAlias",
        parts=(Part("UpdateAlias", ("targetKeyId",), update_only=True),),
        name="",
        outputs={"targetKeyArn": "arn:{partition}:kms:{region}:{account}:key/{targetKeyId}"},
    ),
    Row(
        token="aws:secretsmanager/secret:Secret",
        service="secretsmanager",
        create="CreateSecret",
        id="@ARN",
        rename={"name": "Name"},
        key={"SecretId": "{id}"},
        read="DescribeSecret",
        gone="DeletedDate",
        delete="DeleteSecret",
        delete_key={"SecretId": "{id}", "ForceDeleteWithoutRecovery": True},
        parts=(
            Part("PutResourcePolicy", ("policy",), rename={"policy": "ResourcePolicy"}, undo="DeleteResourcePolicy"),
            Part("UpdateSecret", ("description", "kmsKeyId"), update_only=True),
        ),
        local=("recoveryWindowInDays", "forceOverwriteReplicaSecret", "replicas"),
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"SecretId": "{id}"}),
        note="deleted at once, without the recovery window",
    ),
    Row(
        token="aws:secretsmanager/secretVersion:SecretVersion",
        service="secretsmanager",
        create="PutSecretValue",
        id="@join('|', [ARN, VersionId])",
        rename={"secretStringWo": "SecretString", "secretStringWoVersion": ""},
        key={"SecretId": "{secretId}"},
        read="DescribeSecret",
        outputs={"arn": "@ARN", "versionId": "@VersionId"},
        replaces=("secretString", "secretBinary"),
        local=("secretStringWoVersion", "secretStringWo"),
        name="",
    ),
    Row(
        token="aws:acm/certificate:Certificate",
        service="acm",
        create="RequestCertificate",
        id="@CertificateArn",
        rename={"validationOptions": "DomainValidationOptions", "caArn": "CertificateAuthorityArn"},
        key={"CertificateArn": "{id}"},
        read="DescribeCertificate",
        live="Certificate",
        delete="DeleteCertificate",
        defaults={"validationMethod": "DNS"},
        local=("earlyRenewalDuration", "options"),
        outputs={
            "arn": "{id}",
            "domainValidationOptions": "@DomainValidationOptions[].{DomainName: DomainName, "
            "resourceRecordName: ResourceRecord.Name, resourceRecordType: ResourceRecord.Type, "
            "resourceRecordValue: ResourceRecord.Value}",
        },
        tags=Tags(
            "AddTagsToCertificate",
            "RemoveTagsFromCertificate",
            {"CertificateArn": "{id}"},
            keys="Tags",
        ),
        name="",
        note="certificates that are requested, not imported",
    ),
    Row(
        token="aws:acm/certificateValidation:CertificateValidation",
        service="acm",
        create="DescribeCertificate",
        id="{certificateArn}",
        key={"CertificateArn": "{certificateArn}"},
        read="DescribeCertificate",
        live="Certificate",
        local=("validationRecordFqdns",),
        name="",
        note="waits for nothing: the certificate is taken as validated",
    ),
    _roles_anywhere("TrustAnchor", "trustAnchor"),
    _roles_anywhere("Profile", "profile"),
)
