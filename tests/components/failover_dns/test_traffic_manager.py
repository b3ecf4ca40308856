from __future__ import annotations

import json
from typing import Any

import pulumi_aws as aws
import pytest

from components.azure_caller import TokenIssuerError
from components.failover_dns.settings import TrafficManagerSettings
from components.failover_dns.traffic_manager import TrafficManager, TrafficManagerArgs
from spillway.contracts.azure_calls import ACTIONS
from spillway.contracts.function_config import SwitchConfig
from tests.support.recording import ANSWERS, Recorded, context, of_type, record

ISSUER = "aws:iam/getOutboundWebIdentityFederation:getOutboundWebIdentityFederation"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:notices"


def build(settings: dict[str, Any] | None = None, **changes: Any) -> list[Recorded]:
    values = {"provider": "traffic_manager", "zone_name": "example.com", **(settings or {})}
    args: dict[str, Any] = {
        "settings": TrafficManagerSettings.model_validate(values),
        "region": "eu-west-1",
        "account_id": "123456789012",
        "subscription_id": SUBSCRIPTION,
        "resource_group_name": "rg",
        "primary_address": "198.51.100.7",
        "standby_dns_name": "standby.elb.example",
        "alarm_topic_arn": TOPIC,
        "tenant_id": "tenant",
        "location": "westeurope",
    }
    drawn = {"azure-native:managedidentity:UserAssignedIdentity": {"clientId": "client", "principalId": "principal"}}
    return record(lambda: TrafficManager(context(), TrafficManagerArgs(**{**args, **changes})), drawn)


def one(found: list[Recorded], type_: str) -> dict[str, Any]:
    (only,) = of_type(found, type_)
    return only.inputs


def endpoints(found: list[Recorded]) -> dict[str, dict[str, Any]]:
    return {r.inputs["endpointName"]: r.inputs for r in of_type(found, "azure-native:trafficmanager:Endpoint")}


def test_priority_routing_under_a_name_of_its_own() -> None:
    profile = one(build({"ttl_s": 20}), "azure-native:trafficmanager:Profile")
    assert profile["trafficRoutingMethod"] == "Priority"
    assert profile["dnsConfig"]["ttl"] == 20
    name = profile["dnsConfig"]["relativeName"]
    other = one(build(subscription_id="other"), "azure-native:trafficmanager:Profile")["dnsConfig"]["relativeName"]
    assert name.startswith("spillway-test-traffic-")
    assert name != other


def test_private_endpoint_comes_first_and_nothing_is_probed() -> None:
    """The standby admits the clients' networks only, so a probe of Azure's would call it degraded for good."""
    found = endpoints(build())
    assert found["private"]["priority"] < found["standby"]["priority"]
    assert found["private"]["target"] == "198.51.100.7"
    assert {e["alwaysServe"] for e in found.values()} == {"Enabled"}
    assert {e["endpointType"] for e in found.values()} == {"ExternalEndpoints"}


def test_a_zone_of_another_subscription_is_written_there() -> None:
    zone = "/subscriptions/other/resourceGroups/dns-rg/providers/Microsoft.Network/dnszones/example.com"
    [provider] = of_type(build({"zone_id": zone}), "pulumi:providers:azure-native")
    assert provider.inputs["subscriptionId"] == "other"
    own = zone.replace("other", SUBSCRIPTION)
    assert of_type(build({"zone_id": own}), "pulumi:providers:azure-native") == []


def test_name_points_to_the_profile_in_our_zone_or_theirs() -> None:
    found = build()
    record_set = one(found, "azure-native:dns:RecordSet")
    assert record_set["recordType"] == "CNAME"
    assert record_set["relativeRecordSetName"] == "inference"
    profile = one(found, "azure-native:trafficmanager:Profile")
    assert record_set["cnameRecord"] == {"cname": f"{profile['dnsConfig']['relativeName']}.trafficmanager.net"}
    assert of_type(found, "azure-native:dns:Zone")
    zone = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/dns-rg/providers/Microsoft.Network/dnszones/example.com"
    theirs = build({"zone_id": zone})
    assert of_type(theirs, "azure-native:dns:Zone") == []
    assert one(theirs, "azure-native:dns:RecordSet")["resourceGroupName"] == "dns-rg"


def test_heartbeat_alarm_is_breached_by_silence() -> None:
    alarms = of_type(build({"heartbeat_stale_after_s": 90}), "aws:cloudwatch/metricAlarm:MetricAlarm")
    (alarm,) = [r.inputs for r in alarms if r.name == "spillway-test-heartbeat"]
    assert alarm["treatMissingData"] == "breaching"
    assert (alarm["period"], alarm["evaluationPeriods"]) == (60, 2)
    assert alarm["alarmActions"] == alarm["okActions"] == [TOPIC]


def test_function_follows_the_alarm_and_the_clock() -> None:
    found = build()
    function = one(found, "aws:lambda/function:Function")
    config = SwitchConfig.from_environment(function["environment"]["variables"])
    assert config.alarm == "spillway-test-gateway-heartbeat"
    assert config.endpoint_url.startswith("https://management.azure.com")
    assert config.endpoint_url.endswith("?api-version=2022-04-01")
    assert "reservedConcurrentExecutions" not in function, "new accounts have none to reserve"
    assert set(function["code"].assets) >= {"spillway/runtime/functions/traffic_switch.py"}
    subscription = one(found, "aws:sns/topicSubscription:TopicSubscription")
    assert json.loads(subscription["filterPolicy"]) == {"AlarmName": [config.alarm]}
    assert one(found, "aws:scheduler/schedule:Schedule")["scheduleExpression"] == "rate(1 minute)"


def test_function_may_read_the_alarm_and_ask_for_a_token_meant_for_entra() -> None:
    found = build()
    (document,) = [
        json.loads(r.inputs["policy"])
        for r in of_type(found, "aws:iam/rolePolicy:RolePolicy")
        if r.name == "spillway-test-traffic-switch-rights"
    ]
    rights = {s["Sid"]: s for s in document["Statement"]}
    assert rights["TokenForAzure"]["Action"] == ["sts:GetWebIdentityToken"]
    assert rights["TokenForAzure"]["Condition"]["ForAllValues:StringEquals"] == {
        "sts:IdentityTokenAudience": ["api://AzureADTokenExchange"]
    }
    assert rights["ReadAlarm"]["Action"] == ["cloudwatch:DescribeAlarms"]


def test_the_functions_role_is_an_identity_in_azure_with_two_actions_on_the_profile() -> None:
    found = build()
    [identity] = of_type(found, "azure-native:managedidentity:UserAssignedIdentity")
    trust = one(found, "azure-native:managedidentity:FederatedIdentityCredential")
    function = one(found, "aws:lambda/function:Function")
    assert (trust["subject"], trust["issuer"]) == (function["role"], ANSWERS[ISSUER]["issuerIdentifier"])
    assert trust["audiences"] == ["api://AzureADTokenExchange"]
    assert trust["resourceName"] == identity.name
    config = SwitchConfig.from_environment(function["environment"]["variables"])
    assert (config.identity.tenant_id, config.identity.client_id) == ("tenant", "client")
    role = one(found, "azure-native:authorization:RoleAssignment")
    assert (role["principalId"], role["scope"]) == ("principal", "spillway-test-traffic-id")
    permissions = one(found, "azure-native:authorization:RoleDefinition")["permissions"]
    assert permissions == [{"actions": list(ACTIONS["traffic switch"])}]


def test_an_account_that_signs_no_tokens_is_told_what_to_switch_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("FeatureDisabled")

    monkeypatch.setattr(aws.iam, "get_outbound_web_identity_federation", refuse)
    with pytest.raises(TokenIssuerError, match=r"FeatureDisabled.*enable-outbound-web-identity-federation"):
        build()


def test_without_a_standby_nothing_is_switched_off() -> None:
    found = build(standby_dns_name=None)
    assert set(endpoints(found)) == {"private"}
    assert of_type(found, "aws:lambda/function:Function") == []
