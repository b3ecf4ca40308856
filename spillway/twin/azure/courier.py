"""Runs a package courier's container: the copy from S3 that its variables ask for, with the rights that it has.

Both clouds are asked as they are: a role assignment on the target in the stand-in's Resource Manager, and the trust of
the role in AWS, which names the identity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.azure.client import ArmClient
from spillway.twin.provider import Properties

_SOURCE: Final = re.compile(r":s3,[^:]*:(?P<bucket>[a-z0-9.-]+)/(?P<folder>\S+)")
_TARGET: Final = re.compile(r":azureblob,.*account=(?P<account>[a-z0-9]+)[^:]*:(?P<container>[^/]+)/(?P<folder>\S+)")
TRIES: Final = 20
_WRITERS: Final = ("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b")
"""Storage Blob Data Contributor and Owner."""
_IDENTITIES: Final = "2024-11-30"
_ROLES: Final = "2022-04-01"


class CourierError(Exception):
    """The container would end with an error; the message is what it would print."""


def run(client: ArmClient, aws: str, group: Properties) -> list[Properties]:
    """The group's containers as Azure shows them once they have ended."""
    ended = []
    for container in group["containers"]:
        variables = {one["name"]: one.get("value", "") for one in container.get("environmentVariables") or ()}
        code, told = 0, "Completed"
        if "PACKAGE_SOURCE" in variables:
            try:
                _until_allowed(client, aws, group, variables)
            except CourierError as error:
                code, told = 1, str(error)
        state = {"state": "Terminated", "exitCode": code, "detailStatus": told}
        ended.append({**container, "instanceView": {"restartCount": 0, "currentState": state}})
    return ended


def _until_allowed(client: ArmClient, aws: str, group: Properties, variables: Mapping[str, str]) -> None:
    """The container tries again while its rights are on their way; here there is nothing to sleep for."""
    for left in reversed(range(TRIES)):
        try:
            return _copy(client, aws, group, variables)
        except CourierError:
            if not left:
                raise
    return None


def _copy(client: ArmClient, aws: str, group: Properties, variables: Mapping[str, str]) -> None:
    source, target = _SOURCE.fullmatch(variables["PACKAGE_SOURCE"]), _TARGET.fullmatch(variables["PACKAGE_TARGET"])
    if source is None or target is None:
        raise CourierError("the copy's source or target is no address of rclone's")
    principal = _principal(client, group, variables["AZURE_CLIENT_ID"])
    _may_write(client, group, principal, target["account"], target["container"])
    s3 = _reader(aws, variables, principal)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=source["bucket"], Prefix=f"{source['folder']}/")
    for page in pages:
        for found in page.get("Contents", ()):
            body = s3.get_object(Bucket=source["bucket"], Key=found["Key"])["Body"].read()
            name = f"{target['folder']}{found['Key'].removeprefix(source['folder'])}"
            client.put_blob(target["account"], target["container"], name, body, "application/octet-stream")


def _principal(client: ArmClient, group: Properties, client_id: str) -> str:
    for id_ in (group.get("identity") or {}).get("userAssignedIdentities") or ():
        found = client.get(id_, _IDENTITIES) or {}
        if found.get("properties", {}).get("clientId") == client_id:
            return found["properties"]["principalId"]
    raise CourierError(f"Identity not found: the group has no identity with the client id {client_id}")


def _may_write(client: ArmClient, group: Properties, principal: str, account: str, container: str) -> None:
    # The network may be another subscription's.
    subscription = group["identity"]["userAssignedIdentities"][0].split("/")[2]
    place = f"/subscriptions/{subscription}/resourceGroups/{group['resourceGroupName']}"
    store = f"{place}/providers/Microsoft.Storage/storageAccounts/{account}"
    for scope in (place, store, f"{store}/blobServices/default/containers/{container}"):
        found = client.get(f"{scope}/providers/Microsoft.Authorization/roleAssignments", _ROLES) or {}
        for one in found.get("value", ()):
            role = str(one["properties"]["roleDefinitionId"]).rpartition("/")[2]
            if one["properties"]["principalId"] == principal and role in _WRITERS:
                return
    raise CourierError("403 AuthorizationPermissionMismatch: This request is not authorized to perform this operation")


def _reader(aws: str, variables: Mapping[str, str], principal: str) -> Any:
    """A client of S3 as the role, if the role trusts the identity."""
    import boto3
    from botocore.exceptions import ClientError

    keys = {"aws_access_key_id": "twin", "aws_secret_access_key": "twin", "region_name": variables["AWS_REGION"]}
    name = variables["AWS_ROLE_ARN"].rpartition("/")[2]
    try:
        role = boto3.client("iam", endpoint_url=aws, **keys).get_role(RoleName=name)["Role"]
    except ClientError as error:
        raise CourierError(str(error)) from None
    if f'"{principal}"' not in json.dumps(role["AssumeRolePolicyDocument"]):
        raise CourierError("AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity")
    return boto3.client("s3", endpoint_url=aws, **keys)
