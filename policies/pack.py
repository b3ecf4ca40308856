"""The pack under the Pulumi CLI: each policy as one of pulumi-policy's, configured by the stack and by the CLI.

What the stack file says under ``spillway:policies`` counts first; ``--policy-pack-config`` lies over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pulumi_policy.policy as sdk
from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy import Policy as PulumiPolicy
from pulumi_policy.proxy import UnknownValueError

from policies.catalogue import ALL
from policies.judge import exemption, remedy
from policies.policy import Finding, Policy
from policies.resources import Context, Stack
from policies.settings import settings_of
from spillway.contracts.frozen import Settings
from spillway.contracts.resources import UNKNOWN, Resource


class Pack:
    """The policies for pulumi-policy. ``settings``: the stack's ``policies:``; they may still change, by ``configure``.

    The CLI starts a pack before it tells it the stack's configuration.
    """

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._inputs: dict[str, Mapping[str, Any]] = {}
        """Of each resource by URN, kept for the rules over the whole stack. These are handed outputs, from which a
        provider may leave out in a preview what it does not know yet."""
        self.policies = [self._adapted(policy) for policy in ALL]

    def configure(self, settings: Settings, context: Context) -> None:
        """From now on, judge by these."""
        self._settings, self._context = settings, context
        for policy, adapted in zip(ALL, self.policies, strict=True):
            adapted.enforcement_level = self._level(policy)

    def _level(self, policy: Policy) -> EnforcementLevel:
        return EnforcementLevel(settings_of(policy, self._settings).level or policy.level)

    def _adapted(self, policy: Policy) -> PulumiPolicy:
        described: dict[str, Any] = {
            "name": policy.name,
            "description": policy.description,
            "enforcement_level": self._level(policy),
            "severity": Severity(policy.severity),
            "remediation_steps": policy.remediation,
            "config_schema": _schema(policy),
        }

        def validate_stack(args: StackValidationArgs, report: ReportViolation) -> None:
            resources = (_of_stack(resource, self._inputs.get(resource.urn, {})) for resource in args.resources)
            for finding in self._findings(policy, Stack(resources, self._context), args.get_config()):
                report(_text(policy, finding), finding.resource.urn if finding.resource else None)

        def validate_resource(args: ResourceValidationArgs, report: ReportViolation) -> None:
            self._inputs[args.urn] = args.props
            for finding in self._findings(policy, Stack((_of_resource(args),), self._context), args.get_config()):
                report(_text(policy, finding), None)

        if policy.whole_stack:
            return StackValidationPolicy(validate=validate_stack, **described)
        return ResourceValidationPolicy(validate=validate_resource, **described)

    def _findings(self, policy: Policy, stack: Stack, given: Mapping[str, Any]) -> Iterator[Finding]:
        settings = settings_of(policy, self._settings)
        if given:
            settings = type(settings).model_validate({**settings.model_dump(exclude_unset=True), **given})
        return (found for found in policy.check(stack, settings) if exemption(settings, found) is None)


def serve(config: Mapping[str, str], read: Callable[[Mapping[str, str]], tuple[Settings, Context]]) -> None:
    """Hand the policies to the Pulumi CLI. Returns when the CLI ends this process.

    ``config``: the stack's flat config, where the CLI hands it over in the environment; later ones tell it by
    ``ConfigureStack``. ``read``: its settings and context, or ``ValueError``, which is raised on here.
    """
    pack = Pack(*read(config))

    class Servicer(sdk._PolicyAnalyzerServicer):  # pyright: ignore[reportPrivateUsage]
        """pulumi-policy keeps nothing of the configuration but the stack's tags."""

        def ConfigureStack(self, request: Any, context: Any) -> Any:  # noqa: N802 (the service's name)
            if request.config:
                try:
                    pack.configure(*read(dict(request.config)))
                except ValueError as error:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return super().ConfigureStack(request, context)

    # The pack makes its servicer itself, and takes none.
    sdk._PolicyAnalyzerServicer = Servicer  # pyright: ignore[reportPrivateUsage]
    PolicyPack("spillway", pack.policies, enforcement_level=EnforcementLevel.MANDATORY)


def _text(policy: Policy, finding: Finding) -> str:
    return f"{finding.message}. {remedy(policy, finding)}"


def _schema(policy: Policy) -> PolicyConfigSchema:
    schema = policy.settings.model_json_schema()
    properties = _inlined(schema["properties"], schema.get("$defs", {}))
    return PolicyConfigSchema({key: _without_default(value) for key, value in properties.items() if key != "level"})


def _without_default(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The CLI would hand defaults over as if somebody had asked for them, over what the stack file says."""
    return {key: value for key, value in schema.items() if key != "default"}


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    """Pulumi's configuration schemas know no ``$ref``."""
    if isinstance(value, dict):
        if "$ref" in value:
            return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
        return {key: _inlined(item, definitions) for key, item in value.items()}
    return [_inlined(item, definitions) for item in value] if isinstance(value, list) else value


def _of_resource(args: ResourceValidationArgs) -> Resource:
    return Resource(
        args.resource_type,
        args.name,
        args.urn,
        _Properties(args.props, {}),
        protect=args.opts.protect,
        parent=args.opts.parent or "",
        region=_region(args.provider),
    )


def _of_stack(resource: Any, inputs: Mapping[str, Any]) -> Resource:
    properties = _Properties(inputs, resource.props)
    given_id = properties.get("id")
    return Resource(
        resource.resource_type,
        resource.name,
        resource.urn,
        properties,
        id=given_id if isinstance(given_id, str) else None,
        protect=resource.opts.protect,
        parent=resource.opts.parent or "",
        dependencies=frozenset(found.urn for found in resource.dependencies),
        region=_region(resource.provider),
    )


def _region(provider: Any) -> str:
    region = _Properties(provider.props, {}).get("region") if provider is not None else None
    return region if isinstance(region, str) else ""


class _Properties(Mapping[str, Any]):
    """Inputs, then outputs, as pulumi-policy hands them over; made plain one by one, as most rules look at few."""

    def __init__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        self._inputs, self._outputs = inputs, outputs

    def __getitem__(self, key: str) -> Any:
        # Not `in`: pulumi-policy raises there for what is not known.
        return _plain_item(self._inputs if key in iter(self._inputs) else self._outputs, key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._inputs, *self._outputs)))

    def __len__(self) -> int:
        return len({*self._inputs, *self._outputs})


def _plain_item(container: Any, key: Any) -> Any:
    try:
        return _plain(container[key])
    except UnknownValueError:
        return UNKNOWN


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain_item(value, key) for key in value}
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        return value
    return [_plain_item(value, index) for index in range(len(value))]
