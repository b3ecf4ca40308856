"""What the Pulumi program of one checkout would register for one example stack, as JSON on stdout.

`python scripts/planned.py ROOT STACK PACKAGE` runs `stacks.program.deploy` of ROOT under Pulumi's own mocks: no cloud,
no credentials, no deployer. It leans on as little of the checkout as it can, so that old revisions can be read, too.
What a cloud would answer is a text that names the resource and its output: an input made from an output says which.
`scripts/compare_plans.py` runs this once for each revision and stack.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import pulumi
import yaml
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from google.protobuf.json_format import MessageToDict
from pulumi import _types
from pulumi.runtime import mocks
from pulumi.runtime import settings as runtime_settings
from pulumi.runtime.stack import wait_for_rpcs

TIMEOUT_S = 300.0
SECRETS = "spillway-secrets"
DEFAULT_SECRETS = ("gateway_operator_key", "vpn_pre_shared_key")
"""Names that settings have as a default; the others stand in the stack file, at a key that ends in ``_secret``."""

KUBECONFIG = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plan",
        "contexts": [{"name": "plan", "context": {"cluster": "plan", "user": "plan"}}],
        "clusters": [{"name": "plan", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "plan", "user": {}}],
    }
)

ANSWERS = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": [f"us-east-1{letter}" for letter in "abc"]},
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": {"locations": ["us-east-1a"]},
    "aws:eks/getAddonVersion:getAddonVersion": {"version": "v1.0.0-eksbuild.1"},
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": {"entries": [{"cidr": "15.177.0.0/18"}]},
    "aws:iam/getOutboundWebIdentityFederation:getOutboundWebIdentityFederation": {
        "issuerIdentifier": "https://issuer.example.com"
    },
    "azure-native:containerinstance:getContainerGroup": {
        "containers": [{"instanceView": {"currentState": {"state": "Terminated", "exitCode": 0}}}]
    },
    "azure-native:containerservice:listManagedClusterUserCredentials": {
        "kubeconfigs": [{"name": "plan", "value": base64.b64encode(KUBECONFIG.encode()).decode()}]
    },
    "azure-native:machinelearningservices:listOnlineEndpointKeys": {"primaryKey": "<the endpoint's key>"},
}
"""What provider functions answer; of another one, what it was asked. What each was asked is part of the plan."""

MOMENTS = {"createdOn": "2026-01-01T00:00:00Z"}
"""Outputs that the program counts with."""

# Pulumi's wire format (sdk/python/lib/pulumi/runtime/rpc.py): a mapping with this key is no plain mapping.
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
ASSET = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"

OPTIONS = (
    "protect",
    "ignoreChanges",
    "dependencies",
    "provider",
    "deleteBeforeReplace",
    "replaceOnChanges",
    "retainOnDelete",
    "additionalSecretOutputs",
    "aliases",
    "aliasURNs",
    "customTimeouts",
    "importId",
    "deletedWith",
)


class Cloud(mocks.Mocks):
    """Answers each resource with its plain inputs, and with a telling text for each output that its class declares."""

    def __init__(self) -> None:
        self.classes: dict[str, type] = {}
        self.calls: list[dict[str, Any]] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        who = f"{args.typ} {args.name}"
        known = self.classes.get(args.typ)
        declared = _types.resource_types(known) if known else {}
        outputs = {name: _answer(f"<{who} {name}>", kind) for name, kind in declared.items()}
        outputs |= {name: moment for name, moment in MOMENTS.items() if name in declared}
        plain = {key: value for key, value in args.inputs.items() if not isinstance(value, (dict, list))}
        arn = f"arn:aws:plan:us-east-1:123456789012:{args.typ.split(':')[-1]}/{args.name}"
        return f"<{who} id>", {**outputs, "arn": arn, "name": args.name, **plain}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        self.calls.append(
            {
                "type": f"function {args.token}",
                "name": json.dumps(args.args, sort_keys=True),
                "parent": "",
                "custom": True,
                "inputs": {},
                "options": {},
            }
        )
        return ANSWERS.get(args.token, dict(args.args))


class Monitor(mocks.MockMonitor):
    """Keeps each request to register a resource."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.requests: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - Pulumi's name
        self.requests.append(request)
        return super().RegisterResource(request)


def planned(root: Path, stack: str, package: Path) -> list[dict[str, Any]]:
    """Each resource that the program registers, each function that it calls, and last the stack's outputs."""
    pulumi.runtime.set_all_config(*config_of(root, stack, package))
    asyncio.set_event_loop(asyncio.new_event_loop())
    cloud = Cloud()
    monitor = Monitor(cloud)
    _note_classes(cloud)
    _nothing_in_aws()
    mocks.set_mocks(cloud, project="spillway", stack=stack, preview=False, monitor=monitor)
    proxy: Any = runtime_settings.SETTINGS
    proxy.root_directory = str(root)
    runtime_settings._get_rpc_manager().clear()

    async def run() -> Any:
        # Imported under the mocks, as Pulumi does it: importing may ask for the stack's name.
        from stacks.program import deploy

        outputs = deploy()
        await wait_for_rpcs()
        return await pulumi.Output.from_input(outputs).future()

    outputs = asyncio.get_event_loop().run_until_complete(asyncio.wait_for(run(), TIMEOUT_S))
    resources = [_record(request, root) for request in monitor.requests if request.type != "pulumi:pulumi:Stack"]
    return [
        *resources,
        *cloud.calls,
        {"type": "pulumi:pulumi:Stack", "name": stack, "parent": "", "custom": False, "inputs": outputs, "options": {}},
    ]


def config_of(root: Path, stack: str, package: Path) -> tuple[dict[str, str], list[str]]:
    """The stack file as Pulumi hands it over, with fixed texts for its secrets, and the names of the secret keys."""
    file = root / "stacks" / "config" / f"Pulumi.{stack}.yaml"
    given = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
    stored = {key.split(":", 1)[1] for key in given if key.startswith(f"{SECRETS}:")}
    config = {key: value for key, value in given.items() if not key.startswith(f"{SECRETS}:")}
    config["spillway:package"] = {"path": str(package)}
    texts = {"kubeconfig": KUBECONFIG}
    names = sorted(stored | set(DEFAULT_SECRETS) | set(_named_secrets(config)))
    secrets = {f"{SECRETS}:{name}": texts.get(name, f"secret_{name}") for name in names}
    flat = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    return {**flat, **secrets}, list(secrets)


def _named_secrets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).endswith("_secret") and isinstance(inner, str):
                yield inner
            else:
                yield from _named_secrets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named_secrets(inner)


def _nothing_in_aws() -> None:
    """Every call of boto3 finds nothing: no account is asked, whatever credentials this machine has."""

    def find_nothing(client: BaseClient, operation: str, _: Any) -> dict[str, Any]:
        # An account without an endpoint lists none; an error there is one that an update must not pass over.
        if operation.startswith("List"):
            members = client.meta.service_model.operation_model(operation).output_shape.members
            return {name: [] for name, shape in members.items() if shape.type_name == "list"}
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "Could not find anything"}}, operation)

    BaseClient._make_api_call = find_nothing  # pyright: ignore[reportAttributeAccessIssue]


def _note_classes(cloud: Cloud) -> None:
    """Let the cloud know the class behind each type token: it declares the outputs."""
    original = pulumi.CustomResource.__init__

    def noting(self: pulumi.CustomResource, t: str, *args: Any, **kwargs: Any) -> None:
        cloud.classes[t] = type(self)
        original(self, t, *args, **kwargs)

    pulumi.CustomResource.__init__ = noting


def _answer(text: str, kind: Any, depth: int = 4) -> Any:
    """A value of type ``kind`` that says where it is from."""
    kind = _types.unwrap_type(kind)
    origin, args = get_origin(kind), get_args(kind)
    if kind is str:
        return text
    if kind is bool:
        return True
    if kind in (int, float):
        return 1
    if depth == 0:
        return None
    if origin in (list, Sequence):
        return [_answer(f"{text}[0]", args[0], depth - 1)] if args else []
    if _types.is_output_type(kind):
        fields = _types.output_type_types(kind)
        return {name: _answer(f"{text}.{name}", inner, depth - 1) for name, inner in fields.items()}
    return None


def _record(request: Any, root: Path) -> dict[str, Any]:
    given = MessageToDict(request)
    # The SDK collects them in sets: their order says nothing.
    options = {name: sorted(value) if name == "dependencies" else value for name, value in given.items()}
    return {
        "type": request.type,
        "name": request.name,
        "parent": _short(request.parent),
        "custom": request.custom,
        "inputs": _plain(MessageToDict(request.object), root),
        "options": _plain({name: value for name, value in options.items() if name in OPTIONS and value}, root),
    }


def _short(urn: str) -> str:
    """A URN without the types of the parents: `type name`."""
    body, _, rest = urn.partition("::urn:") if urn.count("urn:pulumi:") > 1 else (urn, "", "")
    parts = body.split("::")
    return f"{parts[2].split('$')[-1]} {'::'.join(parts[3:4])}{rest and ' ' + rest}" if len(parts) > 3 else urn


def _plain(value: Any, root: Path) -> Any:
    """A value of the wire format as plain JSON; a file as its path in the checkout and its digest."""
    if isinstance(value, list):
        return [_plain(inner, root) for inner in value]
    if isinstance(value, str):
        return _short(value) if value.startswith("urn:pulumi:") else value.replace(str(root), "ROOT")
    if not isinstance(value, dict):
        return value
    match value.get(SIGNATURE):
        case None:
            return {key: _plain(inner, root) for key, inner in sorted(value.items())}
        case signature if signature == SECRET:
            return {"secret": _plain(value["value"], root)}
        case signature if signature == ARCHIVE and "assets" in value:
            return {"archive": {path: _plain(inner, root) for path, inner in sorted(value["assets"].items())}}
        case signature if signature in (ASSET, ARCHIVE):
            return _file(value, root)
        case _:
            return {key: _plain(inner, root) for key, inner in sorted(value.items()) if key != SIGNATURE}


def _file(asset: dict[str, Any], root: Path) -> dict[str, Any]:
    if "path" not in asset:
        return {key: value for key, value in asset.items() if key in ("text", "uri")}
    path = Path(asset["path"])
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
    shown = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return {"file": str(shown), "sha256": digest.hexdigest()}


if __name__ == "__main__":
    found = planned(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    print(json.dumps(found))
