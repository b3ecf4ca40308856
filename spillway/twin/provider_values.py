"""Property values: between Pulumi's wire form (protobuf structs with signatures) and the plain Python of stand-ins.

Decoded values are JSON-like, plus ``UNKNOWN``, ``Secret``, assets (:mod:`spillway.twin.protocol_assets`) and
:class:`ResourceRef`. The same signatures serve the checkpoint, which is JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import struct_pb2

from spillway.twin import protocol_assets as assets
from spillway.twin.provider import UNKNOWN, Properties, Secret

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"
ASSET_SIGNATURE: Final = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE_SIGNATURE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
RESOURCE_SIGNATURE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIGNATURE: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# One sentinel per kind of value: sdk/go/common/resource/plugin/rpc.go.
_UNKNOWN_STRINGS: Final = frozenset(
    {
        UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


@dataclass(frozen=True)
class ResourceRef:
    """A reference to a resource, as components put them in their outputs. A stand-in gets the ID (or the URN)."""

    urn: str
    id: Any = None


def from_struct(struct: struct_pb2.Struct, base: Path) -> Properties:
    """Decode a wire struct; relative asset paths are taken from ``base``."""
    return {key: from_signed(_plain(value), base) for key, value in struct.fields.items()}


def to_struct(values: Mapping[str, Any], *, secrets: bool = True) -> struct_pb2.Struct:
    """Encode for the wire. ``secrets=False`` drops the secret marks, for a reader that does not accept them."""
    return struct_pb2.Struct(fields={key: _value(to_signed(item, secrets)) for key, item in values.items()})


def from_signed(value: Any, base: Path, open_secret: Callable[[str], Any] | None = None) -> Any:
    """Decode a JSON value with signatures. ``open_secret`` turns a ciphertext into its (JSON-like, signed) value."""
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWN_STRINGS else value
    if isinstance(value, list):
        return [from_signed(item, base, open_secret) for item in value]
    if not isinstance(value, dict):
        return value
    signature = value.get(SIGNATURE)
    if signature is None:
        return {key: from_signed(item, base, open_secret) for key, item in value.items()}
    if signature == SECRET_SIGNATURE:
        inner = open_secret(value["ciphertext"]) if open_secret and "ciphertext" in value else value.get("value")
        return Secret(from_signed(inner, base, open_secret))
    if signature == RESOURCE_SIGNATURE:
        return ResourceRef(value["urn"], from_signed(value.get("id"), base))
    if signature == OUTPUT_SIGNATURE:
        inner = from_signed(value["value"], base, open_secret) if "value" in value else UNKNOWN
        return Secret(inner) if value.get("secret") else inner
    if signature == ASSET_SIGNATURE:
        return _asset(value, base)
    if signature == ARCHIVE_SIGNATURE:
        return _archive(value, base)
    raise ValueError(f"a property value has an unknown signature {signature!r}")


def to_signed(value: Any, secrets: bool = True, seal: Callable[[Any], str] | None = None) -> Any:
    """Encode as JSON with signatures. ``seal`` turns a secret's signed value into its ciphertext."""
    if value is UNKNOWN:
        return UNKNOWN_STRING
    if isinstance(value, Secret):
        inner = to_signed(value.value, secrets, seal)
        if seal is not None:
            return {SIGNATURE: SECRET_SIGNATURE, "ciphertext": seal(inner)}
        return {SIGNATURE: SECRET_SIGNATURE, "value": inner} if secrets else inner
    if isinstance(value, ResourceRef):
        ref = {SIGNATURE: RESOURCE_SIGNATURE, "urn": value.urn}
        return ref if value.id is None else {**ref, "id": to_signed(value.id)}
    if isinstance(value, assets.Hashed):
        return _signed_asset(value, secrets, seal)
    if isinstance(value, Mapping):
        return {key: to_signed(item, secrets, seal) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_signed(item, secrets, seal) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} is no property value")


def unwrap(value: Any) -> Any:
    """What a stand-in gets: secrets in clear, resources as their IDs."""
    if isinstance(value, Secret):
        return unwrap(value.value)
    if isinstance(value, ResourceRef):
        return value.urn if value.id is None else value.id
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return value


def has_secret(value: Any) -> bool:
    return _contains(value, lambda item: isinstance(item, Secret))


def has_unknown(value: Any) -> bool:
    return _contains(value, lambda item: item is UNKNOWN)


def mark_secrets(value: Any, like: Any) -> Any:
    """``value`` with those parts wrapped that are secret in ``like``: how Pulumi marks outputs by their inputs."""
    if isinstance(value, Secret) or not has_secret(like):
        return value
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: mark_secrets(item, like.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [mark_secrets(item, match) for item, match in zip(value, like, strict=True)]
    return Secret(unwrap(value))


def flatten_secrets(value: Any) -> Any:
    """Lift secrets that hold secrets: ``Secret(Secret(x))`` is ``Secret(x)``."""
    if isinstance(value, Secret):
        return Secret(unwrap(value.value))
    if isinstance(value, dict):
        return {key: flatten_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [flatten_secrets(item) for item in value]
    return value


def _contains(value: Any, wanted: Callable[[Any], bool]) -> bool:
    if wanted(value):
        return True
    if isinstance(value, Secret):
        return _contains(value.value, wanted)
    if isinstance(value, dict):
        return any(_contains(item, wanted) for item in value.values())
    if isinstance(value, list):
        return any(_contains(item, wanted) for item in value)
    return isinstance(value, ResourceRef) and wanted(value.id)


def _plain(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return {key: _plain(item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    return None


def _value(value: Any) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, list):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_value(item) for item in value]))
    fields = {str(key): _value(item) for key, item in value.items()}
    return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))


def _asset(value: dict[str, Any], base: Path) -> assets.Hashed:
    known = value.get("hash")
    if value.get("path"):
        return assets.FileAsset(value["path"], base, known)
    if value.get("uri"):
        return assets.RemoteAsset(value["uri"], known)
    return assets.StringAsset(value.get("text", ""), known)


def _archive(value: dict[str, Any], base: Path) -> assets.Hashed:
    known = value.get("hash")
    if value.get("path"):
        return assets.FileArchive(value["path"], base, known)
    if value.get("uri"):
        return assets.RemoteArchive(value["uri"], known)
    return assets.AssetArchive({key: from_signed(item, base) for key, item in value.get("assets", {}).items()}, known)


def _signed_asset(asset: assets.Hashed, secrets: bool, seal: Callable[[Any], str] | None) -> dict[str, Any]:
    is_archive = isinstance(asset, assets.FileArchive | assets.RemoteArchive | assets.AssetArchive)
    signed = {SIGNATURE: ARCHIVE_SIGNATURE if is_archive else ASSET_SIGNATURE, "hash": asset.content_hash}
    if asset.given_path is not None:
        return {**signed, "path": asset.given_path}
    if isinstance(asset, assets.StringAsset):
        return {**signed, "text": asset.text}
    if isinstance(asset, assets.AssetArchive):
        return {**signed, "assets": to_signed(asset.assets, secrets, seal)}
    return {**signed, "uri": asset.uri}  # type: ignore[attr-defined]
