"""What somebody who deploys a plan into AWS may do, and no more: IAM policies made from the plan's resource types.

What each type takes is in the twin's own rows: the calls that make, change, tag and delete it. They are exact; readings
are whole families, since the provider reads more of a resource than a deployment asks for. Resources are narrowed where
their names or tags say whose they are, and by region elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from botocore.session import get_session

from spillway.twin.aws.row import Row
from spillway.twin.aws.services import ROWS

LONGEST: Final = 6144
"""Characters of a managed policy, white space not counted
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)."""

Statement = dict[str, Any]

_PREFIXES: Final = {"elbv2": "elasticloadbalancing"}
"""boto3's name of a service → IAM's, where they differ."""
_RENAMED: Final = {
    "budgets": dict.fromkeys(("CreateBudget", "UpdateBudget", "DeleteBudget"), "ModifyBudget")
    | {"CreateNotification": "ModifyBudget", "DeleteNotification": "ModifyBudget"},
    "s3": {
        "DeleteBucketEncryption": "PutEncryptionConfiguration",
        "DeleteBucketLifecycle": "PutLifecycleConfiguration",
        "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
        "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
        "PutBucketEncryption": "PutEncryptionConfiguration",
        "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
        "PutBucketNotificationConfiguration": "PutBucketNotification",
        "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    },
}
"""Operations whose action has another name
(https://docs.aws.amazon.com/service-authorization/latest/reference/)."""
_GLOBAL: Final = {"budgets", "ce", "iam", "route53"}
_SPOKEN: Final = {"s3", "secretsmanager", "ssm", "kms"}
"""Services whose ``Get*`` would read other people's data."""


def policies(types: Iterable[str], prefix: str, account: str, region: str) -> list[str]:
    """Documents for managed policies, as few as fit. ``types``: of the plan's resources; ``prefix``: the stack's."""
    rows = [ROWS[type_] for type_ in sorted(set(types)) if type_ in ROWS]
    packed: list[list[Statement]] = [[]]
    for statement in _statements(rows, _Place(prefix, account, region)):
        if len(_document([*packed[-1], statement])) > LONGEST:
            packed.append([])
        packed[-1].append(statement)
    return [_document(statements) for statements in packed]


class _Place:
    """Whose resources these are."""

    def __init__(self, prefix: str, account: str, region: str) -> None:
        self.prefix, self.account, self.region = prefix, account, region

    def arn(self, service: str, resource: str, *, anywhere: bool = False) -> str:
        return f"arn:aws:{service}:{'' if anywhere else self.region}:{self.account}:{resource}"

    def own(self, service: str) -> tuple[list[str], Statement]:
        """Resources of a service, and a condition on them."""
        named = {
            "s3": [f"arn:aws:s3:::{self.prefix}-*"],
            "iam": [
                *(
                    self.arn("iam", f"{kind}/{self.prefix}-*", anywhere=True)
                    for kind in ("role", "policy", "instance-profile")
                ),
                self.arn("iam", "oidc-provider/*", anywhere=True),
            ],
            "ssm": [self.arn("ssm", f"parameter/{self.prefix}/*")],
            "secretsmanager": [self.arn("secretsmanager", f"secret:{self.prefix}-*")],
            "lambda": [self.arn("lambda", f"function:{self.prefix}-*")],
            "sns": [self.arn("sns", f"{self.prefix}-*")],
            "sqs": [self.arn("sqs", f"{self.prefix}-*")],
            "scheduler": [self.arn("scheduler", f"schedule/default/{self.prefix}-*")],
            "budgets": [self.arn("budgets", f"budget/{self.prefix}-*", anywhere=True)],
            "cloudwatch": [
                self.arn("cloudwatch", f"alarm:{self.prefix}-*"),
                self.arn("cloudwatch", f"dashboard/{self.prefix}*", anywhere=True),
            ],
        }.get(service, ["*"])
        everywhere = service in _GLOBAL or named != ["*"]
        return named, {} if everywhere else {"StringEquals": {"aws:RequestedRegion": self.region}}


def _statements(rows: list[Row], place: _Place) -> Iterator[Statement]:
    writes: dict[str, set[str]] = {}
    for row in rows:
        writes.setdefault(_service(row), set()).update(_writes(row))
    if any(row.token == "aws:eks/nodeGroup:NodeGroup" for row in rows):
        # A node group with a launch template is started with the caller's rights, too
        # (https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html).
        writes.setdefault("ec2", set()).update({"RunInstances", "CreateTags"})
    if any(row.service == "servicediscovery" for row in rows):
        # https://docs.aws.amazon.com/cloud-map/latest/dg/cloud-map-api-permissions-ref.html
        zones = {"CreateHostedZone", "GetHostedZone", "ListHostedZonesByName"}
        writes.setdefault("route53", set()).update(zones)
        writes["servicediscovery"].add("DeregisterInstance")
    for service, actions in sorted(writes.items()):
        resources, condition = place.own(service)
        yield _allow(service, [f"{service}:{action}" for action in sorted(actions)], resources, condition)
    yield from _readings({_service(row): row.service for row in rows}, place)
    yield from _uses(rows, place)


def _readings(services: dict[str, str], place: _Place) -> Iterator[Statement]:
    """``services``: IAM's name → boto3's, whose model says which kinds of reading there are."""
    families: list[str] = []
    for service, model in sorted(services.items()):
        names: Any = get_session().get_service_model(model).operation_names
        verbs = ("Describe", "List") if service in _SPOKEN else ("Describe", "Get", "List")
        families += [f"{service}:{verb}*" for verb in verbs if any(name.startswith(verb) for name in names)]
    families = [action for action in families if not action.startswith("budgets:")]
    families += [action for service, action in _ODD_READINGS.items() if service in services]
    yield _allow("Read", [*families, "sts:GetCallerIdentity"], ["*"])
    for service in sorted(_SPOKEN & set(services) - {"kms"}):
        yield _allow(f"Read{service}", [f"{service}:Get*"], place.own(service)[0])


_ODD_READINGS: Final = {"budgets": "budgets:ViewBudget", "kms": "kms:GetKey*", "wafv2": "wafv2:CheckCapacity"}


def _uses(rows: list[Row], place: _Place) -> Iterator[Statement]:
    """What a deployment does with what it has made."""
    tokens = {row.token for row in rows}
    own = {"StringEquals": {"aws:ResourceTag/stack": place.prefix}}
    if "aws:iam/role:Role" in tokens:
        yield _allow("PassRoles", ["iam:PassRole"], [place.arn("iam", f"role/{place.prefix}-*", anywhere=True)])
        linked = place.arn("iam", "role/aws-service-role/*", anywhere=True)
        yield _allow("LinkedRoles", ["iam:CreateServiceLinkedRole"], [linked])
    if "aws:kms/key:Key" in tokens:
        actions = ["CreateGrant", "Decrypt", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"]
        yield _allow("UseKeys", [f"kms:{action}" for action in actions], [place.arn("kms", "key/*")], own)
    if "aws:ec2/instance:Instance" in tokens:
        document = f"arn:aws:ssm:{place.region}::document/AWS-StartPortForwardingSessionToRemoteHost"
        yield _allow("TunnelDocument", ["ssm:StartSession"], [document])
        yield _allow("TunnelHost", ["ssm:StartSession"], [place.arn("ec2", "instance/*")], own)
        yield _allow("CloseTunnel", ["ssm:TerminateSession"], [place.arn("ssm", "session/${aws:username}-*")])


def _service(row: Row) -> str:
    return _PREFIXES.get(row.service, row.service)


def _writes(row: Row) -> set[str]:
    """Actions of the calls that make, change, tag and delete a resource."""
    calls = {row.create, row.delete}
    for part in row.parts:
        calls |= {part.operation, part.undo}
    if row.tags is not None:
        calls |= {row.tags.tag, row.tags.untag}
    if row.tag_kind:
        calls |= {"CreateTags", "DeleteTags"}
    renamed = _RENAMED.get(_service(row), {})
    return {renamed.get(call, call) for call in calls if call}


def _allow(sid: str, actions: list[str], resources: list[str], condition: Statement | None = None) -> Statement:
    name = "".join(letter for letter in sid.title() if letter.isalnum())
    found: Statement = {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}
    return {**found, "Condition": condition} if condition else found


def _document(statements: list[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
