"""Run a component under Pulumi's mocks and see what it registered: for tests of one component's resources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime import mocks, settings
from pulumi.runtime.settings import _get_rpc_manager
from pulumi.runtime.stack import wait_for_rpcs

from components.base import StackContext
from components.sdk_speed import leave_alias_urns_to_the_engine

leave_alias_urns_to_the_engine()

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Recorded:
    """One registered resource: its type token, logical name, and inputs (camelCase, resolved)."""

    type: str
    name: str
    inputs: dict[str, Any]


class _Mocks(mocks.Mocks):
    def __init__(self, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        self.resources: list[Recorded] = []
        self.outputs = outputs

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.resources.append(Recorded(args.typ, args.name, args.inputs))
        arn = f"arn:aws:mock:eu-west-1:123456789012:{args.typ.split(':')[-1]}/{args.name}"
        # Only plain values are echoed: a cloud often answers a structure in another shape than it was given.
        echoed = {key: value for key, value in args.inputs.items() if not isinstance(value, (dict, list))}
        return f"{args.name}-id", {
            "arn": arn,
            "name": args.name,
            **echoed,
            **MADE.get(args.typ, {}),
            **self.outputs.get(args.typ, {}),
        }

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return {**args.args, **ANSWERS.get(args.token, {}), **self.outputs.get(args.token, {})}


ZONES = [f"us-east-1{letter}" for letter in "abc"]
ANSWERS = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": ZONES},
    "aws:iam/getOutboundWebIdentityFederation:getOutboundWebIdentityFederation": {
        "issuerIdentifier": "https://0.tokens.sts.global.api.aws"
    },
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": {"locations": ZONES},
    "aws:eks/getAddonVersion:getAddonVersion": {"version": "v1.0.0-eksbuild.1"},
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": {"entries": [{"cidr": "15.177.0.0/18"}]},
}
"""What the provider's functions say to a whole program."""
MADE = {"aws:secretsmanager/secretVersion:SecretVersion": {"versionId": "v1"}}
"""What a cloud gives a resource that a program makes a text of."""


def record(build: Callable[[], object], outputs: Mapping[str, Mapping[str, Any]] | None = None) -> list[Recorded]:
    """Call ``build`` under mocks and return every resource it registered. Program errors are raised.

    ``outputs``: what the cloud would add to a resource, or answer a function, by token (camelCase)."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = _Mocks(outputs or {})
    mocks.set_mocks(recorder, project="spillway", stack="test", preview=False)

    async def run() -> None:
        build()

    # What a failed build left outstanding would keep the next one waiting for ever.
    _get_rpc_manager().clear()
    settings.SETTINGS.outputs.clear()
    asyncio.get_event_loop().run_until_complete(asyncio.wait_for(mocks_run(run), TIMEOUT_S))
    return recorder.resources


async def mocks_run(run: Callable[[], Any]) -> None:
    await run()
    await wait_for_rpcs()


def of_type(resources: list[Recorded], type_: str) -> list[Recorded]:
    """Those of one type token, e.g. ``aws:eks/cluster:Cluster``."""
    return [r for r in resources if r.type == type_]


def context(**changes: Any) -> StackContext:
    """A context as a test stack has it."""
    values: dict[str, Any] = {
        "prefix": "spillway-test",
        "stack": "test",
        "owner": "platform",
        "cost_centre": "cc-1",
        "protect_data": True,
    }
    return StackContext(**{**values, **changes})


__all__ = ["Recorded", "context", "of_type", "pulumi", "record", "settings"]
