"""Every row, made, read, changed and deleted on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.twin.aws.rows import ROWS
from spillway.twin.aws.schema import SCHEMA_FILE, generate, type_schema
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.aws.table import PAGE, page
from spillway.twin.standin import ResourceState, UnknownTypeError
from tests.twin_aws.samples import SAMPLES, TAGS
from tests.twin_aws.support import Server, create, resolve, urn


@pytest.fixture(scope="module")
def made(stand_in: AwsStandIn) -> dict[str, ResourceState]:
    """Every sample, created in order."""
    found: dict[str, ResourceState] = {}
    for sample in SAMPLES:
        found[sample.name] = create(stand_in, sample.type, sample.name, resolve(sample.inputs, found))
    return found


def test_every_row_has_a_sample() -> None:
    assert {sample.type for sample in SAMPLES} == set(ROWS)


def test_schema_and_page_are_current() -> None:
    assert SCHEMA_FILE.read_text() == generate(list(ROWS)), "run python -m spillway.twin.aws.schema"
    assert PAGE.read_text() == page(PAGE.read_text()), "run python -m spillway.twin.aws.table"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_read_gives_what_was_made_and_nothing_differs(
    stand_in: AwsStandIn, made: dict[str, ResourceState], sample: Any
) -> None:
    state = made[sample.name]
    live = stand_in.read(sample.type, state.id, state)
    assert live is not None
    assert live.inputs == state.inputs
    again = stand_in.check(
        urn(sample.type, sample.name), sample.type, live.inputs, resolve(sample.inputs, made), b"other"
    )
    assert not again.failures
    assert not stand_in.diff(sample.type, live, again.inputs, ())
    if "arn" in type_schema(sample.type).outputs:
        assert str(live.outputs["arn"]).startswith("arn:aws:")


def test_plain_boto3_sees_them(server: Server, made: dict[str, ResourceState]) -> None:
    assert made["endpoint"].id in [e["EndpointName"] for e in server.client("sagemaker").list_endpoints()["Endpoints"]]
    targets = server.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert targets["ScalableTargets"][0]["MaxCapacity"] == 4
    records = server.client("route53").list_resource_record_sets(HostedZoneId=made["zone"].id)["ResourceRecordSets"]
    failover = {r["Failover"]: r for r in records if "Failover" in r}
    assert failover["PRIMARY"]["HealthCheckId"] == made["check"].id
    assert failover["PRIMARY"]["Name"] == "api.example.com."
    assert failover["SECONDARY"]["AliasTarget"]["DNSName"].rstrip(".") == made["balancer"].outputs["dnsName"]
    check = server.client("route53").get_health_check(HealthCheckId=made["check"].id)["HealthCheck"]
    assert check["HealthCheckConfig"]["AlarmIdentifier"] == {"Region": "eu-west-1", "Name": made["alarm"].id}
    alarms = server.client("cloudwatch").describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    assert "both" in [alarm["AlarmName"] for alarm in alarms["CompositeAlarms"]]
    budget = server.client("budgets").describe_budget(
        AccountId="123456789012", BudgetName=made["budget"].inputs["name"]
    )
    assert budget["Budget"]["BudgetLimit"]["Amount"] == "1000"
    addons = server.client("eks").list_addons(clusterName=made["cluster"].id)["addons"]
    assert addons == ["vpc-cni"]
    actions = server.client("budgets").describe_budget_actions_for_budget(
        AccountId="123456789012", BudgetName=made["budget"].inputs["name"]
    )["Actions"]
    assert [action["ActionType"] for action in actions] == ["APPLY_IAM_POLICY"]
    body = server.client("s3").get_object(Bucket=made["bucket"].id, Key="a/b.txt")["Body"].read()
    assert body == b"hello"


def test_tags_reach_the_cloud(server: Server, made: dict[str, ResourceState]) -> None:
    pairs = server.client("ec2").describe_vpcs(VpcIds=[made["vpc"].id])["Vpcs"][0]["Tags"]
    assert {pair["Key"]: pair["Value"] for pair in pairs} == TAGS
    tags = server.client("s3").get_bucket_tagging(Bucket=made["bucket"].id)["TagSet"]
    assert {pair["Key"]: pair["Value"] for pair in tags} == TAGS


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.replace], ids=lambda sample: sample.name)
def test_what_cannot_change_is_replaced(stand_in: AwsStandIn, made: dict[str, ResourceState], sample: Any) -> None:
    state = made[sample.name]
    diff = stand_in.diff(sample.type, state, {**state.inputs, **sample.replace}, ())
    assert set(diff.replaces) == set(sample.replace)


def test_change_then_delete_everything(stand_in: AwsStandIn, server: Server, made: dict[str, ResourceState]) -> None:
    states = dict(made)
    for sample in SAMPLES:
        if not sample.change:
            continue
        state = states[sample.name]
        wanted = {**state.inputs, **resolve(sample.change, states)}
        wanted = {key: value for key, value in wanted.items() if value is not None}
        checked = stand_in.check(urn(sample.type, sample.name), sample.type, state.inputs, wanted, b"seed")
        assert not checked.failures, (sample.name, checked.failures)
        diff = stand_in.diff(sample.type, state, checked.inputs, ())
        assert set(diff.changed) == set(sample.change), sample.name
        assert not diff.replaces, (sample.name, diff)
        states[sample.name] = stand_in.update(urn(sample.type, sample.name), sample.type, state, checked.inputs)
        assert states[sample.name].id == state.id

    endpoint = server.client("sagemaker").describe_endpoint(EndpointName=made["endpoint"].id)
    assert endpoint["EndpointConfigName"] == made["config-async"].id
    assert endpoint["ProductionVariants"][0]["DesiredInstanceCount"] == 2
    assert endpoint["LastDeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"][0]["AlarmName"] == made["alarm"].id
    budget = server.client("budgets").describe_budget(
        AccountId="123456789012", BudgetName=made["budget"].inputs["name"]
    )
    assert budget["Budget"]["BudgetLimit"]["Amount"] == "2000"
    rules = server.client("ec2").describe_security_groups(GroupIds=[made["group"].id])["SecurityGroups"][0]
    assert [rule["FromPort"] for rule in rules["IpPermissions"]] == [8443]
    pairs = server.client("ec2").describe_vpcs(VpcIds=[made["vpc"].id])["Vpcs"][0]["Tags"]
    assert {pair["Key"]: pair["Value"] for pair in pairs} == {"owner": "other"}

    for sample in reversed(SAMPLES):
        state = states[sample.name]
        stand_in.delete(urn(sample.type, sample.name), sample.type, state)
        # The provider leaves these settings to what they belong to.
        if ROWS[sample.type].delete:
            assert stand_in.read(sample.type, state.id, state) is None, sample.name
        stand_in.delete(urn(sample.type, sample.name), sample.type, state)
    assert server.client("sagemaker").list_endpoints()["Endpoints"] == []


def test_unknown_type_is_an_error(stand_in: AwsStandIn) -> None:
    with pytest.raises(UnknownTypeError, match="has no row"):
        stand_in.check("urn::x", "aws:braket/job:Job", None, {}, b"")
    with pytest.raises(UnknownTypeError, match="no function"):
        stand_in.invoke("aws:braket/getJob:getJob", {})
