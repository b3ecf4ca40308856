from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from spillway.conformance.flows.families.apis import FAMILY
from spillway.contracts.azure_calls import ACTIONS
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import ACCOUNT, REGION, allow, asked, azure, inline, made, role, trusting, world

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


CLIENT = {"tenant_id": "t", "client_id": "client"}
ENDPOINT = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e"
)
MACHINES = [{"url": f"https://management.azure.com{ENDPOINT}/deployments/blue?api-version=1"}]
ASKS_AZURE = function(sites={"x": {"asked": {"identity": CLIENT, "machines": MACHINES}}})
IDENTITY = azure(
    "managedidentity:UserAssignedIdentity", "reader", {"resourceName": "r"}, principalId="p", clientId="client"
)
TRUST = azure(
    "managedidentity:FederatedIdentityCredential",
    "trust",
    {
        "resourceName": "r",
        "issuer": "https://0.tokens.sts.global.api.aws",
        "subject": ROLE.outputs["arn"],
        "audiences": ["api://AzureADTokenExchange"],
    },
)
CUSTOM = azure("authorization:RoleDefinition", "calls", {"permissions": [{"actions": list(ACTIONS["cost signal"])}]})
GRANT = azure(
    "authorization:RoleAssignment",
    "grant",
    {"principalId": "p", "scope": ENDPOINT, "roleDefinitionId": CUSTOM.id},
)
TOKEN = {
    **allow("sts:GetWebIdentityToken"),
    "Condition": {
        "ForAllValues:StringEquals": {"sts:IdentityTokenAudience": ["api://AzureADTokenExchange"]},
        "NumericLessThanEquals": {"sts:DurationSeconds": "300"},
    },
}
SIGNS = inline(ROLE, *RIGHTS, TOKEN)


def props(one: Resource, **changes: Any) -> Resource:
    return replace(one, props={**one.props, **changes})


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((IDENTITY, TRUST, CUSTOM, GRANT, SIGNS), set()),
        ((IDENTITY, TRUST, CUSTOM, GRANT, inline(ROLE, *RIGHTS)), {"signal-policy"}),
        (
            (
                IDENTITY,
                TRUST,
                CUSTOM,
                GRANT,
                inline(ROLE, *RIGHTS, {**TOKEN, "Condition": {"NumericLessThanEquals": {"sts:DurationSeconds": "60"}}}),
            ),
            {"signal-policy"},
        ),
        ((TRUST, CUSTOM, GRANT, SIGNS), {"function"}),
        ((IDENTITY, CUSTOM, GRANT, SIGNS), {"reader"}),
        ((IDENTITY, props(TRUST, subject="arn:other"), CUSTOM, GRANT, SIGNS), {"trust"}),
        ((IDENTITY, props(TRUST, issuer="https://sts.windows.net/t/"), CUSTOM, GRANT, SIGNS), {"trust"}),
        ((IDENTITY, props(TRUST, audiences=["sts.amazonaws.com"]), CUSTOM, GRANT, SIGNS), {"trust"}),
        ((IDENTITY, TRUST, CUSTOM, SIGNS), {"reader"}),
        ((IDENTITY, TRUST, CUSTOM, props(GRANT, scope=f"{ENDPOINT}/deployments/green"), SIGNS), {"reader"}),
        ((IDENTITY, TRUST, CUSTOM, props(GRANT, principalId="other"), SIGNS), {"reader"}),
        ((IDENTITY, TRUST, props(GRANT, roleDefinitionId=f"/roleDefinitions/{ROLES['AcrPull']}"), SIGNS), {"reader"}),
        ((IDENTITY, TRUST, props(GRANT, roleDefinitionId=f"/roleDefinitions/{ROLES['Reader']}"), SIGNS), set()),
        ((IDENTITY, TRUST, props(CUSTOM, permissions=[{"actions": ["*/write"]}]), GRANT, SIGNS), {"reader"}),
    ],
)
def test_a_function_that_calls_azure_is_trusted_there_and_may(parts: tuple[Resource, ...], expected: set[str]) -> None:
    assert named(ASKS_AZURE, schedule(), GROUP, CALLS, *parts) == expected
