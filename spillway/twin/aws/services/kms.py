"""Keys."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_TAGS = Tags("TagResource", "UntagResource", {"KeyId": "{id}"})


def _rotation(scope: Scope) -> list[dict[str, Any]]:
    period = {"RotationPeriodInDays": scope["rotationPeriodInDays"]} if scope.get("rotationPeriodInDays") else {}
    return [{"KeyId": scope["id"], **period}] if scope.get("enableKeyRotation") else []


def _no_rotation(scope: Scope) -> list[dict[str, Any]]:
    return [] if scope.get("enableKeyRotation") else [{"KeyId": scope["id"]}]


_ROWS = (
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
        tags=_TAGS,
        samples=(
            Sample(
                "key",
                {"description": "data", "enableKeyRotation": True, "deletionWindowInDays": 7, "tags": OWNED},
                change={"description": "new"},
            ),
        ),
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
        samples=(Sample("alias", {"name": "alias/data", "targetKeyId": "$key.keyId"}),),
    ),
)

SERVICE = Service("kms", _ROWS)
