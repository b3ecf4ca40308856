"""Every row, made, read, changed and deleted on a real server."""

from __future__ import annotations

import pytest

from spillway.twin.aws.row import Row
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.schema import type_schema
from spillway.twin.aws.services import ROWS, SERVICES
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.provider import ResourceState, UnknownTypeError
from tests.twin.aws.support import Server, create, in_order, resolve, urn

SAMPLES = in_order(ROWS.values())
NAMES = [sample.name for _, sample in SAMPLES]


@pytest.fixture(scope="module")
def made(stand_in: AwsStandIn) -> dict[str, ResourceState]:
    """Every sample, created in order."""
    found: dict[str, ResourceState] = {}
    for row, sample in SAMPLES:
        found[sample.name] = create(stand_in, row.token, sample.name, resolve(sample.inputs, found))
    return found


def test_every_row_has_a_sample_and_no_name_is_taken_twice() -> None:
    assert [token for token, row in ROWS.items() if not row.samples] == []
    assert len(set(NAMES)) == sum(len(row.samples) for row in ROWS.values())


def test_each_row_and_each_recorded_noun_is_with_its_service() -> None:
    rows = [row for service in SERVICES for row in service.rows]
    assert len(rows) == len(ROWS), "a type has two rows"
    for service in SERVICES:
        assert {row.service for row in service.rows} <= {service.name}
        assert {kind.service for kind in service.recorded} <= {service.name}


@pytest.mark.parametrize(("row", "sample"), SAMPLES, ids=NAMES)
def test_read_gives_what_was_made_and_nothing_differs(
    stand_in: AwsStandIn, made: dict[str, ResourceState], row: Row, sample: Sample
) -> None:
    type_, state = row.token, made[sample.name]
    live = stand_in.read(type_, state.id, state)
    assert live is not None
    assert live.inputs == state.inputs
    again = stand_in.check(urn(type_, sample.name), type_, live.inputs, resolve(sample.inputs, made), b"other")
    assert not again.failures
    assert not stand_in.diff(type_, live, again.inputs, ())
    if "arn" in type_schema(type_).outputs:
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
    assert {pair["Key"]: pair["Value"] for pair in pairs} == OWNED
    tags = server.client("s3").get_bucket_tagging(Bucket=made["bucket"].id)["TagSet"]
    assert {pair["Key"]: pair["Value"] for pair in tags} == OWNED


REPLACED = [(row, sample) for row, sample in SAMPLES if sample.replace]


@pytest.mark.parametrize(("row", "sample"), REPLACED, ids=[sample.name for _, sample in REPLACED])
def test_what_cannot_change_is_replaced(
    stand_in: AwsStandIn, made: dict[str, ResourceState], row: Row, sample: Sample
) -> None:
    state = made[sample.name]
    diff = stand_in.diff(row.token, state, {**state.inputs, **sample.replace}, ())
    assert set(diff.replaces) == set(sample.replace)


def test_change_then_delete_everything(stand_in: AwsStandIn, server: Server, made: dict[str, ResourceState]) -> None:
    states = dict(made)
    for row, sample in SAMPLES:
        if not sample.change:
            continue
        type_, state = row.token, states[sample.name]
        wanted = {**state.inputs, **resolve(sample.change, states)}
        wanted = {key: value for key, value in wanted.items() if value is not None}
        checked = stand_in.check(urn(type_, sample.name), type_, state.inputs, wanted, b"seed")
        assert not checked.failures, (sample.name, checked.failures)
        diff = stand_in.diff(type_, state, checked.inputs, ())
        assert set(diff.changed) == set(sample.change), sample.name
        assert not diff.replaces, (sample.name, diff)
        states[sample.name] = stand_in.update(urn(type_, sample.name), type_, state, checked.inputs)
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

    for row, sample in reversed(SAMPLES):
        type_, state = row.token, states[sample.name]
        stand_in.delete(urn(type_, sample.name), type_, state)
        # The provider leaves these settings to what they belong to.
        if row.delete:
            assert stand_in.read(type_, state.id, state) is None, sample.name
        stand_in.delete(urn(type_, sample.name), type_, state)
    left = [endpoint["EndpointName"] for endpoint in server.client("sagemaker").list_endpoints()["Endpoints"]]
    assert made["endpoint"].id not in left


def test_unknown_type_is_an_error(stand_in: AwsStandIn) -> None:
    with pytest.raises(UnknownTypeError, match="has no row"):
        stand_in.check("urn::x", "aws:braket/job:Job", None, {}, b"")
    with pytest.raises(UnknownTypeError, match="no function"):
        stand_in.invoke("aws:braket/getJob:getJob", {})
