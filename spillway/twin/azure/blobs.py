"""``azure-native:storage:Blob``: bytes from an asset or archive to the data plane."""

from __future__ import annotations

import base64
import hashlib
import io
import mimetypes
import zipfile
from pathlib import Path
from typing import Any, Final

import pulumi

from spillway.twin.azure.client import ArmClient, ArmRefusalError
from spillway.twin.provider import Diff, Properties, ResourceState, StandInError

ARGUMENTS: Final = frozenset(
    [
        "accessTier",
        "accountName",
        "blobName",
        "containerName",
        "contentMd5",
        "contentType",
        "metadata",
        "resourceGroupName",
        "source",
        "type",
    ]
)
REQUIRED: Final = ("accountName", "containerName", "resourceGroupName")
_REPLACES: Final = frozenset({"accountName", "blobName", "containerName", "resourceGroupName", "type"})
_API: Final = "2024-01-01"
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def content(source: Any) -> bytes:
    """The bytes of an asset; a folder becomes a zip with fixed times: equal files give equal bytes."""
    if source is None:
        return b""
    if isinstance(source, pulumi.StringAsset):
        return str(source.text).encode()
    if isinstance(source, pulumi.FileAsset | pulumi.FileArchive):
        path = Path(str(source.path))
        if path.is_dir():
            return _zip(path)
        try:
            return path.read_bytes()
        except OSError as error:
            raise StandInError(f"the blob's file {path} cannot be read: {error.strerror}") from None
    raise StandInError(f"a blob's source must be a file, text or folder, not {type(source).__name__}")


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_TIME), path.read_bytes())
    return buffer.getvalue()


def write(client: ArmClient, subscription: str, inputs: Properties) -> ResourceState:
    account, container, name = _where(inputs)
    _refuse_keys(client, subscription, inputs)
    content_type = inputs.get("contentType") or mimetypes.guess_type(name)[0] or "application/octet-stream"
    info = client.put_blob(account, container, name, content(inputs.get("source")), content_type)
    return _state(subscription, inputs, info)


def _refuse_keys(client: ArmClient, subscription: str, inputs: Properties) -> None:
    """The provider uploads with the account's key, over its public address
    (https://github.com/pulumi/pulumi-azure-native/issues/2015)."""
    home = f"/subscriptions/{subscription}/resourceGroups/{inputs['resourceGroupName']}/providers/Microsoft.Storage"
    live = client.get(f"{home}/storageAccounts/{inputs['accountName']}", _API) or {}
    properties = live.get("properties", {})
    if properties.get("allowSharedKeyAccess") is False:
        message = "Key based authentication is not permitted on this storage account."
        raise ArmRefusalError(403, "KeyBasedAuthenticationNotPermitted", message)
    if properties.get("publicNetworkAccess") == "Disabled":
        message = "This request is not authorized to perform this operation."
        raise ArmRefusalError(403, "AuthorizationFailure", message)


def read(client: ArmClient, subscription: str, id_: str, state: ResourceState | None) -> ResourceState | None:
    parts = id_.split("/")
    names = {"resourceGroupName": parts[4], "accountName": parts[8], "containerName": parts[12]}
    inputs = {**names, "blobName": "/".join(parts[14:]), **(state.inputs if state else {})}
    info = client.blob(*_where(inputs))
    return _state(subscription, inputs, info) if info is not None else None


def delete(client: ArmClient, inputs: Properties) -> None:
    client.delete_blob(*_where(inputs))


def diff(old: ResourceState, new: Properties, ignored: tuple[str, ...]) -> Diff:
    """Assets are compared by their hash: the CLI leaves their content out where only a difference is asked for."""
    keys = {*old.inputs, *new} - set(ignored)
    changed = {key for key in keys if old.inputs.get(key) != new.get(key)}
    return Diff(tuple(sorted(changed)), tuple(sorted(changed & _REPLACES)))


def _where(inputs: Properties) -> tuple[str, str, str]:
    return inputs["accountName"], inputs["containerName"], inputs["blobName"]


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _state(subscription: str, inputs: Properties, info: dict[str, str]) -> ResourceState:
    account, container, name = _where(inputs)
    home = f"/subscriptions/{subscription}/resourceGroups/{inputs['resourceGroupName']}/providers/Microsoft.Storage"
    id_ = f"{home}/storageAccounts/{account}/blobServices/default/containers/{container}/blobs/{name}"
    outputs = {
        "name": name,
        "url": f"https://{account}.blob.core.windows.net/{container}/{name}",
        "type": inputs.get("type", "Block"),
        "accessTier": inputs.get("accessTier", "Hot"),
        "metadata": inputs.get("metadata", {}),
        **info,
    }
    return ResourceState(id_, inputs, outputs)
