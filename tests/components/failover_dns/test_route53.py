"""Route 53 failover: what decides, and what is answered."""

from __future__ import annotations

from typing import Any, Literal

import pulumi
import pytest
from pydantic import TypeAdapter, ValidationError

from components.failover_dns.route53 import Route53Failover, Route53FailoverArgs
from components.failover_dns.route53_zone import Route53Zone, Route53ZoneArgs
from components.failover_dns.settings import DnsSettings, Route53Settings
from tests.support.recording import Recorded, context, of_type, record

RECORD = "aws:route53/record:Record"


CHECK = "aws:route53/healthCheck:HealthCheck"


def failover(
    kind: Literal["ip", "hostname"] = "ip", way_in: Literal["HTTPS", "HTTP"] | None = None, **settings: Any
) -> list[Recorded]:
    args = Route53FailoverArgs(
        settings=Route53Settings(zone_name="serve.example.com", **settings),
        region="eu-west-1",
        zone_id="Z0123456789ABC",
        primary_address="10.0.0.7" if kind == "ip" else "gateway.private.example.com",
        primary_kind=kind,
        way_in=way_in,
        standby_dns_name="standby.elb.example.com",
        standby_zone_id="Z32O12XQLNTSW2",
    )
    return record(lambda: Route53Failover(context(), args))


def zones(
    exposure: Literal["internal", "public"], **settings: Any
) -> tuple[list[Recorded], pulumi.Input[str] | None, pulumi.Input[str]]:
    """Zones made, the certificate's zone, the zone."""
    args = Route53ZoneArgs(
        Route53Settings(zone_name="serve.example.com", **settings),
        region="eu-west-1",
        exposure=exposure,
        vpc_id="vpc-1",
    )
    made: list[Route53Zone] = []
    resources = record(lambda: made.append(Route53Zone(context(), args)))
    return of_type(resources, "aws:route53/zone:Zone"), made[0].certificate_zone_id, made[0].zone_id


def pair(resources: list[Recorded]) -> list[Recorded]:
    return sorted(of_type(resources, RECORD), key=lambda r: r.inputs["setIdentifier"])


def test_alarm_is_one_that_route53_takes() -> None:
    (alarm,) = of_type(failover(), "aws:cloudwatch/metricAlarm:MetricAlarm")
    assert alarm.inputs["namespace"] == "Spillway"
    assert alarm.inputs["metricName"] == "GatewayHeartbeat"
    assert alarm.inputs["dimensions"] == {"Gateway": "spillway-test"}
    assert alarm.inputs["period"] == 60
    assert alarm.inputs["evaluationPeriods"] == 1
    assert alarm.inputs["treatMissingData"] == "breaching"
    assert "metricQueries" not in alarm.inputs
    assert "datapointsToAlarm" not in alarm.inputs


def test_health_check_follows_the_alarm() -> None:
    resources = failover()
    (alarm,) = of_type(resources, "aws:cloudwatch/metricAlarm:MetricAlarm")
    (check,) = of_type(resources, CHECK)
    assert check.inputs["type"] == "CLOUDWATCH_METRIC"
    assert check.inputs["cloudwatchAlarmName"] == alarm.inputs["name"]
    assert check.inputs["cloudwatchAlarmRegion"] == "eu-west-1"
    assert check.inputs["insufficientDataHealthStatus"] == "Unhealthy"


def checks(resources: list[Recorded]) -> dict[str, dict[str, Any]]:
    return {one.name.removeprefix("spillway-test-"): one.inputs for one in of_type(resources, CHECK)}


@pytest.mark.parametrize(("way_in", "port"), [("HTTPS", 443), ("HTTP", 80)])
def test_a_public_gateway_is_asked_from_outside_too(way_in: Literal["HTTPS", "HTTP"], port: int) -> None:
    """By its load balancer's own name: asked by the name that fails over, the standby would answer for it
    (https://docs.aws.amazon.com/Route53/latest/APIReference/API_HealthCheckConfig.html)."""
    resources = failover("hostname", way_in)
    found = checks(resources)
    outside = found["way-in"]
    assert (outside["type"], outside["port"], outside["resourcePath"]) == (way_in, port, "/healthz")
    assert outside["fqdn"] == "gateway.private.example.com"
    assert "ipAddress" not in outside
    both = found["private-gateway-reached"]
    assert (both["type"], both["childHealthThreshold"]) == ("CALCULATED", 2)
    assert both["childHealthchecks"] == ["spillway-test-private-gateway-id", "spillway-test-way-in-id"]
    assert pair(resources)[0].inputs["healthCheckId"] == "spillway-test-private-gateway-reached-id"


def test_an_address_is_asked_under_the_name_that_clients_use() -> None:
    outside = checks(failover("ip", "HTTPS"))["way-in"]
    assert (outside["ipAddress"], outside["fqdn"]) == ("10.0.0.7", "inference.serve.example.com")
    assert outside["enableSni"] is True


def test_a_gateway_that_the_internet_does_not_reach_is_judged_from_inside_alone() -> None:
    assert set(checks(failover())) == {"private-gateway"}


def test_address_pair_is_a_record_and_an_alias() -> None:
    primary, secondary = pair(failover(ttl_s=20))
    assert primary.inputs["type"] == secondary.inputs["type"] == "A"
    assert (primary.inputs["records"], primary.inputs["ttl"]) == (["10.0.0.7"], 20)
    assert primary.inputs["failoverRoutingPolicies"] == [{"type": "PRIMARY"}]
    assert primary.inputs["healthCheckId"] == "spillway-test-private-gateway-id"
    assert secondary.inputs["failoverRoutingPolicies"] == [{"type": "SECONDARY"}]
    assert secondary.inputs["aliases"][0]["name"] == "standby.elb.example.com"
    assert "ttl" not in secondary.inputs


def test_host_name_pair_is_two_cnames_with_the_ttl() -> None:
    primary, secondary = pair(failover(kind="hostname"))
    assert primary.inputs["type"] == secondary.inputs["type"] == "CNAME"
    assert primary.inputs["ttl"] == secondary.inputs["ttl"] == 30
    assert secondary.inputs["records"] == ["standby.elb.example.com"]
    assert "aliases" not in secondary.inputs


def test_zone_is_private_or_public_by_exposure() -> None:
    (internal,), internal_proof, _ = zones("internal")
    (public,), public_proof, _ = zones("public")
    assert internal.inputs["vpcs"] == [{"vpcId": "vpc-1", "vpcRegion": "eu-west-1"}]
    assert "vpcs" not in public.inputs
    assert internal_proof is None
    assert public_proof is not None


def test_given_zone_is_used_and_none_created() -> None:
    made, proof, zone_id = zones("internal", zone_id="Z0123456789ABC", certificate_zone_id="Z0PUBLIC")
    assert not made
    assert (zone_id, proof) == ("Z0123456789ABC", "Z0PUBLIC")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"provider": "route53", "zone_name": "example.com", "ttl_s": 3600}, "300"),
        ({"provider": "route53", "zone_name": "example.com", "record_name": ""}, "record_name"),
        ({"provider": "bind", "zone_name": "example.com"}, "route53"),
    ],
)
def test_bad_dns_settings_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TypeAdapter(DnsSettings).validate_python(given)
