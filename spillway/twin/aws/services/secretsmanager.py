"""Secrets."""

from __future__ import annotations

import re
from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_AUTOMATIC_NAME = re.compile(r"-[0-9a-f]{7}$")


def _at_once(scope: Scope, _: Any) -> bool | None:
    """Whether nothing keeps the name. One that was drawn is never asked for again, except from the twin, which draws
    the same one each time."""
    drawn = _AUTOMATIC_NAME.search(str(scope.get("name") or ""))
    return True if drawn or scope.get("recoveryWindowInDays") == 0 else None


def _window(scope: Scope, answer: Any) -> int | None:
    """The provider's default is 30 days."""
    return None if _at_once(scope, answer) else int(scope.get("recoveryWindowInDays") or 30)


_ROWS = (
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
        delete_key={"SecretId": "{id}", "ForceDeleteWithoutRecovery": _at_once, "RecoveryWindowInDays": _window},
        parts=(
            Part("PutResourcePolicy", ("policy",), rename={"policy": "ResourcePolicy"}, undo="DeleteResourcePolicy"),
            Part("UpdateSecret", ("description", "kmsKeyId"), update_only=True),
        ),
        local=("recoveryWindowInDays", "forceOverwriteReplicaSecret", "replicas"),
        outputs={"arn": "{id}"},
        tags=Tags("TagResource", "UntagResource", {"SecretId": "{id}"}),
        note="a name of one's own stays taken for the recovery window",
        samples=(
            Sample("secret", {"description": "key", "kmsKeyId": "$key.arn", "recoveryWindowInDays": 7, "tags": OWNED}),
        ),
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
        samples=(Sample("secret-value", {"secretId": "$secret.id", "secretString": "s3cret"}),),
    ),
)

SERVICE = Service("secretsmanager", _ROWS)
