from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.conformance.flows.families.apis import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import ACCOUNT, REGION, allow, asked, inline, made, role, trusting, world

ROLE = role("signal", trusting("lambda"))
SCHEDULER = role("clock", trusting("scheduler"))
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/signal:*"


def function(**settings: Any) -> Resource:
    props = {
        "name": "signal",
        "handler": "spillway.runtime.functions.cost_signal.handler",
        "role": ROLE.outputs["arn"],
        "environment": {
            "variables": {"SPILLWAY_COST": json.dumps({"live_parameter": "/s/live-instances", **settings})}
        },
    }
    return made("aws:lambda/function:Function", "function", props, arn="arn:function")


def schedule() -> Resource:
    target = {"arn": "arn:function", "roleArn": SCHEDULER.outputs["arn"]}
    return made("aws:scheduler/schedule:Schedule", "schedule", {"target": target})


GROUP = made("aws:cloudwatch/logGroup:LogGroup", "logs", {"name": "/aws/lambda/signal"})
LIVE = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/s/live-instances"
TELLS = (allow("ssm:GetParameter", LIVE), allow("ssm:PutParameter", LIVE))
RIGHTS = (allow("logs:*", LOGS), allow("cloudwatch:*"), *TELLS)
CALLS = inline(SCHEDULER, allow("lambda:InvokeFunction", "arn:function"))


def named(*resources: Resource) -> set[str]:
    found = [one for flow in FAMILY.flows(world(ROLE, SCHEDULER, *resources)) for one in asked(flow.doors)]
    return {one.resource.name for one in found if one.resource}


def test_a_function_with_rights_logs_and_a_clock() -> None:
    assert named(function(), schedule(), GROUP, CALLS, inline(ROLE, *RIGHTS)) == set()


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([schedule(), GROUP, CALLS, inline(ROLE, RIGHTS[0], *TELLS)], {"signal-policy"}),
        ([schedule(), GROUP, CALLS, inline(ROLE, *RIGHTS[:2])], {"signal-policy"}),
        ([schedule(), CALLS, inline(ROLE, *RIGHTS)], {"function"}),
        ([schedule(), GROUP, inline(ROLE, *RIGHTS)], {"clock"}),
        ([GROUP, CALLS, inline(ROLE, *RIGHTS)], {"function"}),
    ],
)
def test_a_part_that_is_missing_is_named(resources: list[Resource], expected: set[str]) -> None:
    assert named(function(), *resources) == expected


def test_a_secret_that_the_function_is_told_of_has_to_be_readable() -> None:
    told = function(sites={"x": {"asked": {"secret": "arn:secret"}}})
    assert named(told, schedule(), GROUP, CALLS, inline(ROLE, *RIGHTS)) == {"signal-policy"}
    more = inline(ROLE, *RIGHTS, allow("secretsmanager:GetSecretValue", "arn:secret"))
    assert named(told, schedule(), GROUP, CALLS, more) == set()
