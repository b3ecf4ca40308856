"""The twin's DNS server: what a resolver sees of Route 53, and of a failover."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rcode
import pytest

from spillway.twin.data_plane.deployed import aws_client
from spillway.twin.data_plane.processes.child import free_port
from spillway.twin.data_plane.processes.dns import ALIAS_TTL_S, Record, choose
from tests.support.waiting import eventually

ALARM = {
    "AlarmName": "heartbeat",
    "Namespace": "Spillway",
    "MetricName": "GatewayHeartbeat",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "LessThanThreshold",
    # A test sets the state by hand, and the twin's evaluation leaves it alone.
    "TreatMissingData": "ignore",
}


@pytest.fixture(scope="module")
def zone(aws: str) -> str:
    """A zone with a failover pair that follows an alarm. Yields the zone's id."""
    aws_client("cloudwatch", aws, "eu-west-1").put_metric_alarm(**ALARM)
    client = aws_client("route53", aws)
    check = client.create_health_check(
        CallerReference="1",
        HealthCheckConfig={
            "Type": "CLOUDWATCH_METRIC",
            "AlarmIdentifier": {"Region": "eu-west-1", "Name": "heartbeat"},
            "InsufficientDataHealthStatus": "Unhealthy",
        },
    )["HealthCheck"]["Id"]
    zone_id = client.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    primary = {
        "Name": "inference.example.com",
        "Type": "A",
        "SetIdentifier": "private",
        "Failover": "PRIMARY",
        "HealthCheckId": check,
        "TTL": 30,
        "ResourceRecords": [{"Value": "10.20.0.10"}],
    }
    alias = {"HostedZoneId": "Z32O12XQLNTSW2", "DNSName": "lb.elb.amazonaws.com", "EvaluateTargetHealth": True}
    secondary = {
        "Name": "inference.example.com",
        "Type": "A",
        "SetIdentifier": "standby",
        "Failover": "SECONDARY",
        "AliasTarget": alias,
    }
    cname = {
        "Name": "www.example.com",
        "Type": "CNAME",
        "TTL": 60,
        "ResourceRecords": [{"Value": "inference.example.com"}],
    }
    text = {"Name": "example.com", "Type": "TXT", "TTL": 5, "ResourceRecords": [{"Value": '"one" "two"'}]}
    changes = [{"Action": "CREATE", "ResourceRecordSet": record} for record in (primary, secondary, cname, text)]
    client.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})
    return zone_id


@pytest.fixture(scope="module")
def server(aws: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "spillway.twin.data_plane.processes.dns", "--aws", aws, "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        eventually(lambda: listens(process, port), within_s=60, what="the DNS server listens")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, f"the DNS server ended with {process.returncode}"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, name: str, type_: str = "A", tcp: bool = False) -> dns.message.Message:
    send = dns.query.tcp if tcp else dns.query.udp
    return send(dns.message.make_query(name, type_), "127.0.0.1", port=port, timeout=10)


def addresses(port: int, name: str = "inference.example.com") -> list[str]:
    return [item.to_text() for rrset in ask(port, name).answer for item in rrset if rrset.rdtype.name == "A"]


def set_alarm(aws: str, state: str) -> None:
    aws_client("cloudwatch", aws, "eu-west-1").set_alarm_state(
        AlarmName="heartbeat", StateValue=state, StateReason="test"
    )


def test_a_failover_is_seen_and_undone(aws: str, zone: str, server: int) -> None:
    set_alarm(aws, "OK")
    eventually(lambda: addresses(server) == ["127.0.0.1"], within_s=5)
    set_alarm(aws, "ALARM")
    eventually(lambda: addresses(server) == ["127.0.0.2"], within_s=5)
    set_alarm(aws, "OK")
    eventually(lambda: addresses(server) == ["127.0.0.1"], within_s=5)


def test_ttls_are_those_of_the_records(aws: str, zone: str, server: int) -> None:
    set_alarm(aws, "OK")
    eventually(lambda: addresses(server) == ["127.0.0.1"], within_s=5)
    assert ask(server, "inference.example.com").answer[0].ttl == 30
    set_alarm(aws, "ALARM")
    eventually(lambda: addresses(server) == ["127.0.0.2"], within_s=5)
    assert ask(server, "inference.example.com").answer[0].ttl == ALIAS_TTL_S


def test_a_cname_is_shown_and_followed(aws: str, zone: str, server: int) -> None:
    set_alarm(aws, "OK")
    eventually(lambda: addresses(server) == ["127.0.0.1"], within_s=5)
    shown = ask(server, "www.example.com").answer
    assert [(rrset.name.to_text(), rrset.rdtype.name) for rrset in shown] == [
        ("www.example.com.", "CNAME"),
        ("inference.example.com.", "A"),
    ]


def test_names_that_are_not_there(zone: str, server: int) -> None:
    assert ask(server, "nothing.example.com").rcode() == dns.rcode.NXDOMAIN
    assert ask(server, "inference.example.com", "AAAA").rcode() == dns.rcode.NOERROR
    assert ask(server, "example.org").rcode() == dns.rcode.REFUSED


def test_tcp_and_text(zone: str, server: int) -> None:
    answer = ask(server, "example.com", "TXT", tcp=True).answer[0]
    assert answer[0].to_text() == '"one" "two"'
    assert ask(server, "example.com", "SOA").answer[0].rdtype.name == "SOA"


def test_when_nothing_is_healthy_the_primary_answers() -> None:
    primary = Record("a", "A", 30, ("10.0.0.1",), failover="PRIMARY", health_check="x")
    secondary = Record("a", "A", 30, ("10.0.0.2",), failover="SECONDARY", health_check="y")
    assert choose([secondary, primary], {"x": False, "y": True}) is secondary
    assert choose([secondary, primary], {"x": False, "y": False}) is primary
    assert choose([secondary, primary], {"x": True, "y": True}) is primary
    assert choose([], {}) is None
