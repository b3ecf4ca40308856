"""The AWS stand-in: each resource type of pulumi-aws becomes calls to the AWS server of the twin."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import jmespath

from spillway.twin.aws.client import (
    ACCESS_KEY,
    FORGET_HEADER,
    FRESH_HEADER,
    KEY_HEADER,
    REPLAYED_HEADER,
    SECRET_KEY,
    URN_HEADER,
    Clients,
    GoneError,
    fingerprint,
    input_shape,
)
from spillway.twin.aws.functions import invoke
from spillway.twin.aws.row import Part, Row, Scope, resolve
from spillway.twin.aws.schema import type_schema
from spillway.twin.aws.service import ACCOUNT
from spillway.twin.aws.services import ROWS
from spillway.twin.aws.shapes import Converter, camel, check_properties, find_member, has_unknown, normalise
from spillway.twin.provider import (
    UNKNOWN,
    Checked,
    CheckFailure,
    Diff,
    Properties,
    ResourceState,
    Secret,
    StandInError,
    UnknownTypeError,
)

PROVIDER_TOKEN = "pulumi:providers:aws"
_AUTOMATIC_NAME = re.compile(r"-[0-9a-f]{7}(\.fifo)?$")
_PROVIDER_SETTINGS = frozenset(
    [
        "accessKey",
        "allowedAccountIds",
        "assumeRoles",
        "assumeRoleWithWebIdentity",
        "customCaBundle",
        "defaultTags",
        "ec2MetadataServiceEndpoint",
        "ec2MetadataServiceEndpointMode",
        "endpoints",
        "forbiddenAccountIds",
        "httpProxy",
        "httpsProxy",
        "ignoreTags",
        "insecure",
        "maxRetries",
        "noProxy",
        "profile",
        "region",
        "retryMode",
        "s3UsEast1RegionalEndpoint",
        "s3UsePathStyle",
        "secretKey",
        "sharedConfigFiles",
        "sharedCredentialsFiles",
        "skipCredentialsValidation",
        "skipMetadataApiCheck",
        "skipRegionValidation",
        "skipRequestingAccountId",
        "stsRegion",
        "tagPolicyCompliance",
        "token",
        "tokenBucketRateLimiterCapacity",
        "useDualstackEndpoint",
        "useFipsEndpoint",
        "userAgents",
        "version",
        "pluginDownloadURL",
    ]
)


class AwsStandIn:
    """The stand-in for package ``aws``, talking to ``python -m spillway.twin.aws.server`` at ``endpoint``.

    ``delegates``: somebody delegates to each public zone as soon as it is made, as a person does between two stages.
    """

    package = "aws"

    def __init__(
        self, endpoint: str, region: str = "eu-west-1", account_id: str = ACCOUNT, *, delegates: bool = False
    ) -> None:
        self.account_id = account_id
        self.delegates = delegates
        self.region = region
        self.default_tags: dict[str, str] = {}
        self.clients = Clients(endpoint)
        self.environment: Mapping[str, str] = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def types(self) -> frozenset[str]:
        return frozenset(ROWS)

    def configure(self, config: Properties) -> None:
        failures = self._check_provider(config)
        if failures:
            raise StandInError("; ".join(f"{failure.path} {failure.reason}" for failure in failures))
        region = config.get("region")
        if isinstance(region, str) and region:
            self.region = region
        default_tags = config.get("defaultTags")
        if isinstance(default_tags, dict) and not has_unknown(default_tags):
            self.default_tags = dict(default_tags.get("tags") or {})

    @staticmethod
    def _check_provider(config: Properties) -> list[CheckFailure]:
        failures = [
            CheckFailure(key, "is no setting of the aws provider") for key in config if key not in _PROVIDER_SETTINGS
        ]
        region = config.get("region")
        if isinstance(region, str) and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region):
            failures.append(CheckFailure("region", f"{region!r} is no AWS region"))
        return failures

    def row(self, type_: str) -> Row:
        """The row of a type. :class:`UnknownTypeError` when there is none."""
        if type_ not in ROWS:
            raise UnknownTypeError(f"{type_} has no row in the AWS stand-in")
        return ROWS[type_]

    # --- check -----------------------------------------------------------------------------------------------------

    def check(
        self, urn: str, type_: str, old_inputs: Properties | None, new_inputs: Properties, seed: bytes
    ) -> Checked:
        if type_ == PROVIDER_TOKEN:
            return Checked(dict(new_inputs), tuple(self._check_provider(new_inputs)))
        row = self.row(type_)
        inputs = {key: value for key, value in new_inputs.items() if value is not None}
        failures = check_properties(inputs, type_schema(type_).inputs)
        if failures:
            return Checked(inputs, tuple(failures))
        inputs = {**copy.copy(dict(row.defaults)), **inputs}
        self._name(row, urn, old_inputs or {}, inputs, seed)
        return Checked(inputs, tuple(self._check_calls(row, urn, inputs)))

    @staticmethod
    def _name(row: Row, urn: str, old: Properties, inputs: Properties, seed: bytes) -> None:
        if not row.name or row.name in inputs:
            return
        suffix = hashlib.sha256(seed + urn.encode()).hexdigest()[:7]
        prefix = inputs.get(f"{row.name}Prefix")
        if prefix is UNKNOWN:
            inputs[row.name] = UNKNOWN
            return
        start = prefix if isinstance(prefix, str) else f"{urn.rsplit('::', 1)[-1]}-"
        kept = old.get(row.name)
        if isinstance(kept, str) and (kept.startswith(start) or prefix is None):
            inputs[row.name] = kept
            return
        tail = suffix + (".fifo" if inputs.get("fifoQueue") or inputs.get("fifoTopic") else "")
        if row.name_limit:
            start = start[: row.name_limit - len(tail) - 1].rstrip("-") + "-" if prefix is None else start
        name = start + tail
        inputs[row.name] = name.lower() if row.name == "bucket" else name

    def _check_calls(self, row: Row, urn: str, inputs: Properties) -> list[CheckFailure]:
        """Convert the inputs for every call they reach, and keep what the API model says against them."""
        converter = Converter(row.rename)
        scope = self._scope(row, urn, inputs)
        if row.build is None:
            self._create_params(row, scope, converter)
        elif not has_unknown(inputs):
            converter = _validate(row, row.create, row.build(scope)[0], converter)
        for part in row.parts:
            if part.update_only or not any(name in inputs for name in part.takes):
                continue
            if part.build is not None:
                for params in [] if has_unknown(inputs) else part.build({**scope, "id": "id"}):
                    _validate(row, part.operation, params, converter)
                continue
            inner = Converter({**row.rename, **part.rename})
            self._part_params(row, part, scope, inner)
            converter.failures.extend(inner.failures)
        return list(dict.fromkeys(converter.failures))

    # --- diff and preview ------------------------------------------------------------------------------------------

    def diff(self, type_: str, old: ResourceState, new_inputs: Properties, ignore_changes: tuple[str, ...]) -> Diff:
        if type_ == PROVIDER_TOKEN:
            changed = _changed(old.inputs, new_inputs, ignore_changes)
            return Diff(changed, tuple(key for key in changed if key == "region"))
        row = self.row(type_)
        changed = _changed(old.inputs, new_inputs, ignore_changes)
        changed += tuple(name for name in _always_different(row, new_inputs) if name not in {*changed, *ignore_changes})
        replaces = tuple(key for key in changed if key not in _updatable(row))
        return Diff(changed, replaces, bool(replaces) and self._must_delete_first(row, old.inputs, new_inputs))

    @staticmethod
    def _must_delete_first(row: Row, old: Properties, new: Properties) -> bool:
        """Whether old and new cannot live side by side: the same name, given by hand, or the same place."""
        if row.name and row.name in new:
            name = new[row.name]
            return isinstance(name, str) and name == old.get(row.name) and not _AUTOMATIC_NAME.search(name)
        used = row.inputs_in(row.id) & set(type_schema(row.token).inputs.types)
        return bool(used) and all(new.get(name) == old.get(name) for name in used)

    def preview(self, type_: str, old: ResourceState | None, inputs: Properties) -> Properties:
        if type_ == PROVIDER_TOKEN:
            return dict(inputs)
        row = self.row(type_)
        known = old.outputs if old else {}
        outputs = {name: known.get(name, UNKNOWN) for name in type_schema(type_).outputs}
        outputs |= self._echo(row, inputs)
        return outputs

    # --- create, read, update, delete ------------------------------------------------------------------------------

    def create(self, urn: str, type_: str, inputs: Properties) -> ResourceState:
        if type_ == PROVIDER_TOKEN:
            self.configure(inputs)
            return ResourceState(id=urn.rsplit("::", 1)[-1], inputs=inputs, outputs=dict(inputs))
        row = self.row(type_)
        scope = self._scope(row, urn, inputs)
        state, replayed = self._create(row, scope, inputs, fresh=False)
        if state is None and replayed:
            state, _ = self._create(row, scope, inputs, fresh=True)
        if state is None:
            raise StandInError(f"{row.service} {row.create}: made {scope['urn']}, but {row.read} does not find it")
        return state

    def _create(self, row: Row, scope: Scope, inputs: Properties, fresh: bool) -> tuple[ResourceState | None, bool]:
        converter = Converter(row.rename)
        params = row.build(scope)[0] if row.build else self._create_params(row, scope, converter)
        _raise(row, converter)
        headers = {URN_HEADER: scope["urn"], KEY_HEADER: fingerprint(row.create, params)}
        if fresh:
            headers[FRESH_HEADER] = "1"
        answer = self.clients.call(row.service, scope["region"], row.create, params, headers)
        replayed = REPLAYED_HEADER in answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        id_ = resolve(row.id, scope, answer)
        if id_ is None:
            raise StandInError(f"{row.service} {row.create}: no id in the answer")
        scope = {**scope, "id": str(id_)}
        scope |= self._outputs(row, scope, answer, None)
        if replayed and self._live(row, scope) is None:
            return None, True
        self._run_parts(row, scope, [part for part in row.parts if not part.update_only], {*inputs, "@create"})
        if row.tags and scope["tags"] and not self._create_takes_tags(row):
            self._tag(row, scope, scope["tags"])
        return self._state(row, scope, inputs, answer), replayed

    def read(self, type_: str, id_: str, state: ResourceState | None) -> ResourceState | None:
        if type_ == PROVIDER_TOKEN:
            return state
        row = self.row(type_)
        inputs = dict(state.inputs) if state else {}
        scope = {**self._scope(row, "", inputs), **_plain(state.outputs if state else {}), "id": id_}
        if state is None and row.name:
            scope.setdefault(row.name, id_)
        live = self._live(row, scope)
        if live is None:
            return None
        for name, path in row.drift.items():
            found = jmespath.search(path, live)
            if name in inputs and found is not None:
                inputs[name] = found
        outputs = {**(state.outputs if state else {}), **self._outputs(row, scope, {}, live)}
        outputs |= {name: inputs[name] for name in row.drift if name in inputs}
        return ResourceState(id_, inputs, outputs)

    def update(self, urn: str, type_: str, old: ResourceState, inputs: Properties) -> ResourceState:
        if type_ == PROVIDER_TOKEN:
            self.configure(inputs)
            return ResourceState(old.id, inputs, dict(inputs))
        row = self.row(type_)
        changed = set(_changed(old.inputs, inputs, ()))
        computed = {
            key: value for key, value in _plain(old.outputs).items() if key not in type_schema(type_).inputs.types
        }
        scope = {**self._scope(row, urn, inputs), **computed, "id": old.id, "tags": self._tags_of(row, inputs)}
        scope["old"] = old.inputs
        self._run_parts(row, scope, list(row.parts), changed)
        self._update_tags(row, scope, self._tags_of(row, old.inputs))
        state = self._state(row, scope, inputs, {})
        if state is None:
            raise GoneError(f"{row.service}: {old.id} was deleted meanwhile")
        return ResourceState(
            state.id, inputs, {**{k: v for k, v in old.outputs.items() if k in computed}, **state.outputs}
        )

    def delete(self, urn: str, type_: str, old: ResourceState) -> None:
        if type_ == PROVIDER_TOKEN:
            return
        row = self.row(type_)
        if not row.delete:
            return
        scope = {**self._scope(row, urn, old.inputs), **_plain(old.outputs), "id": old.id}
        try:
            params = resolve(row.delete_key if row.delete_key is not None else row.key, scope)
            if row.before_delete:
                row.before_delete(scope["call"], scope)
            self.clients.call(row.service, scope["region"], row.delete, params, {FORGET_HEADER: urn})
        except GoneError:
            return

    def invoke(self, token: str, args: Properties) -> Properties:
        return invoke(self.clients, self.region, token, args)

    # --- calls -----------------------------------------------------------------------------------------------------

    def _scope(self, row: Row, urn: str, inputs: Properties) -> Scope:
        region = inputs.get("region")
        prepared = row.prepare(inputs) if row.prepare else {}
        return {
            **inputs,
            **prepared,
            "urn": urn,
            "name_of_urn": urn.rsplit("::", 1)[-1],
            "account": self.account_id,
            "delegates": self.delegates,
            "partition": "aws",
            "region": region if isinstance(region, str) else self.region,
            "tags": self._tags_of(row, inputs),
            "call": self._caller(row, str(region or self.region)),
            "token": hashlib.sha256(urn.encode() + repr(sorted(inputs)).encode()).hexdigest()[:32],
        }

    def _tags_of(self, row: Row, inputs: Properties) -> dict[str, Any]:
        own = inputs.get("tags")
        if not isinstance(own, dict | None) or "tags" not in type_schema(row.token).inputs.types:
            return {}
        return {**self.default_tags, **(own or {})}

    def _caller(self, row: Row, region: str) -> Any:
        return lambda operation, params: self.clients.call(row.service, region, operation, params)

    def _create_takes_tags(self, row: Row) -> bool:
        if row.build is not None:
            return False
        shape = input_shape(row.service, row.create)
        return shape is not None and (bool(row.tag_kind) or find_member(shape, "tags") is not None)

    def _create_params(self, row: Row, scope: Scope, converter: Converter) -> dict[str, Any]:
        shape = input_shape(row.service, row.create)
        elsewhere = {name for part in row.parts if not part.update_only for name in part.takes}
        skip = elsewhere | set(row.local) | {"tags", "region", "__defaults", f"{row.name}Prefix"}
        given = {
            key: scope[key]
            for key in type_schema(row.token).inputs.types
            if key in scope and (key not in skip or row.rename.get(key))
        }
        if not shape:
            return {}
        if scope["tags"] and not row.tag_kind and self._create_takes_tags(row):
            given["tags"] = scope["tags"]
        params = converter.structure(given, shape, noun=row.noun or row.type_name)
        if scope["tags"] and row.tag_kind:
            labels = {"tagSpecifications": [{"resourceType": row.tag_kind, "tags": scope["tags"]}]}
            params |= Converter().structure(labels, shape)
        params = _merge(resolve(row.fixed, scope), params)
        converter.require(params, shape)
        return params

    def _part_params(self, row: Row, part: Part, scope: Scope, converter: Converter) -> dict[str, Any]:
        shape = input_shape(row.service, part.operation)
        given = {key: scope[key] for key in _takes(row, part) if scope.get(key) is not None}
        if shape is None:
            return {}
        params = converter.structure(given, shape, noun=row.noun or row.type_name)
        return _merge(resolve(part.key if part.key is not None else row.key, scope), params)

    def _run_parts(self, row: Row, scope: Scope, parts: list[Part], changed: set[str]) -> None:
        for part in parts:
            takes = _takes(row, part)
            if not changed & set(takes):
                continue
            if part.undo and all(scope.get(name) is None for name in takes):
                self.clients.call(row.service, scope["region"], part.undo, resolve(part.key or row.key, scope))
                continue
            converter = Converter({**row.rename, **part.rename})
            calls = part.build(scope) if part.build else [self._part_params(row, part, scope, converter)]
            _raise(row, converter)
            for params in calls:
                self._run_part(row, scope, part, params)

    def _run_part(self, row: Row, scope: Scope, part: Part, params: dict[str, Any]) -> None:
        try:
            self.clients.call(row.service, scope["region"], part.operation, params)
        except StandInError as error:
            if not part.already or f": {part.already}: " not in str(error):
                raise

    def _live(self, row: Row, scope: Scope) -> dict[str, Any] | None:
        if not row.read:
            return {}
        params = resolve(row.read_key if row.read_key is not None else row.key, scope)
        try:
            answer = self.clients.call(row.service, scope["region"], row.read, params)
        except GoneError:
            return None
        answer.pop("ResponseMetadata", None)
        path = resolve(row.live, scope)
        live = jmespath.search(path, answer) if path else answer
        if live is None or (live in ([], {}) and row.live):
            return None
        if row.gone and isinstance(live, dict) and jmespath.search(row.gone, live):
            return None
        return live if isinstance(live, dict) else {"value": live}

    def _state(self, row: Row, scope: Scope, inputs: Properties, answer: dict[str, Any]) -> ResourceState | None:
        live = self._live(row, scope)
        if live is None:
            return None
        return ResourceState(
            scope["id"], inputs, {**self._echo(row, inputs), **self._outputs(row, scope, answer, live)}
        )

    def _echo(self, row: Row, inputs: Properties) -> Properties:
        outputs = {k: v for k, v in inputs.items() if k in type_schema(row.token).outputs}
        if "tagsAll" in type_schema(row.token).outputs:
            outputs["tagsAll"] = self._tags_of(row, inputs) if inputs.get("tags") is not UNKNOWN else UNKNOWN
        if "region" in type_schema(row.token).outputs:
            outputs["region"] = inputs.get("region", self.region)
        return outputs

    def _outputs(self, row: Row, scope: Scope, answer: dict[str, Any], live: dict[str, Any] | None) -> Properties:
        """What the provider adds to the inputs: found by name in what AWS answered, or as the row says."""
        schema = type_schema(row.token)
        merged = {k: v for k, v in answer.items() if k != "ResponseMetadata"}
        for value in list(merged.values()):
            if isinstance(value, dict):
                merged = {**value, **merged}
        merged |= live or {}
        found = {normalise(key): value for key, value in merged.items()}
        noun = normalise(row.noun or row.type_name)
        outputs: Properties = {}
        for name in schema.outputs:
            if (scope.get(name) is not None and name in schema.inputs.types) or name in row.outputs:
                continue
            value = found.get(normalise(name), found.get(noun + normalise(name)))
            if value is not None and name not in {"tags", "tagsAll"}:
                converted = from_api(value)
                # The provider flattens some of AWS's structures, and the SDK takes no other kind than its own.
                if schema.fits(name, converted):
                    outputs[name] = converted
        for name, template in row.outputs.items():
            value = resolve(template, {**scope, **outputs}, merged)
            if value is not None and (scope.get(name) is None or name not in schema.inputs.types):
                outputs[name] = from_api(value)
        for name in {*schema.secrets, *row.secret_outputs} & set(outputs):
            outputs[name] = Secret(outputs[name])
        return outputs

    # --- tags ------------------------------------------------------------------------------------------------------

    def _tag(self, row: Row, scope: Scope, tags: dict[str, str]) -> None:
        style = row.tags
        if style is None or not tags:
            return
        shape = input_shape(row.service, style.tag)
        assert shape is not None
        params = Converter({"tags": style.tags}).structure({"tags": tags}, shape)
        self.clients.call(row.service, scope["region"], style.tag, _merge(resolve(style.key, scope), params))

    def _update_tags(self, row: Row, scope: Scope, old: dict[str, str]) -> None:
        new = scope["tags"]
        if row.tags is None or new == old:
            return
        removed = sorted(set(old) - set(new))
        if removed and row.tags.untag:
            keys: Any = removed
            if row.tags.keys == "Tags":
                keys = [{"Key": key} for key in removed]
            self.clients.call(
                row.service, scope["region"], row.tags.untag, {**resolve(row.tags.key, scope), row.tags.keys: keys}
            )
        self._tag(
            row, scope, {key: value for key, value in new.items() if old.get(key) != value} if row.tags.untag else new
        )


def from_api(value: Any) -> Any:
    """An API value as the provider returns it: camelCase keys, times as text."""
    if isinstance(value, dict):
        return {camel(key): from_api(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_api(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def _plain(properties: Mapping[str, Any]) -> Properties:
    return {key: value.value if isinstance(value, Secret) else value for key, value in properties.items()}


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _changed(old: Properties, new: Properties, ignore: tuple[str, ...]) -> tuple[str, ...]:
    ignored = {re.split(r"[.\[]", path, maxsplit=1)[0] for path in ignore}
    names = sorted((set(old) | set(new)) - ignored - {"__defaults"})
    return tuple(name for name in names if not _same(old.get(name), new.get(name)))


def _always_different(row: Row, inputs: Properties) -> list[str]:
    given = {name: inputs.get(name) for name in row.kept_as_given}
    return [name for name, value in given.items() if isinstance(value, str) and not row.kept_as_given[name](value)]


def _same(old: Any, new: Any) -> bool:
    if has_unknown(new):
        return False
    if hasattr(old, "path") or hasattr(old, "text") or hasattr(old, "assets"):
        from spillway.twin.aws.archives import asset_digest

        return type(old) is type(new) and asset_digest(old) == asset_digest(new)
    return old == new


def _takes(row: Row, part: Part) -> tuple[str, ...]:
    """The inputs that a part sets; for a part that names none, all that its operation knows but those that name it."""
    if part.takes:
        return part.takes
    shape = input_shape(row.service, part.operation)
    if shape is None:
        return ()
    naming = row.inputs_in(row.key) | row.inputs_in(row.id) | set(row.replaces)
    elsewhere = {name for other in row.parts for name in other.takes}
    skip = naming | elsewhere | set(row.local) | {"tags", "region", row.name}
    rename = {**row.rename, **part.rename}
    return tuple(
        name
        for name in type_schema(row.token).inputs.types
        if name not in skip
        and (
            rename[name].split(".")[0] in shape.members
            if rename.get(name)
            else find_member(shape, name, row.noun or row.type_name)
        )
    )


def _updatable(row: Row) -> set[str]:
    names = {name for part in row.parts for name in _takes(row, part)} | set(row.local)
    if row.tags:
        names.add("tags")
    return names - set(row.replaces)


def _raise(row: Row, converter: Converter) -> None:
    if converter.failures:
        raise StandInError(f"{row.token}: " + "; ".join(f"{f.path} {f.reason}" for f in converter.failures))


def _validate(row: Row, operation: str, params: dict[str, Any], converter: Converter) -> Converter:
    """Check parameters that a row built itself. The paths are then those of the API."""
    shape = input_shape(row.service, operation)
    if shape is not None:
        checker = Converter()
        checker.require(checker.structure(params, shape), shape)
        converter.failures.extend(checker.failures)
    return converter
