"""What a stack costs at rest. Whole example stacks: tests/conformance/test_bills.py."""

from __future__ import annotations

import pytest

from policies.bill import Line, UsageError, bill_at_rest, bill_json, markdown
from policies.priced_types import BY_USE, NOT_PRICED, STANDING, why_free, why_not_priced
from policies.resources import Context, Stack
from policies.rules.capacity import NODE_GROUP
from spillway.contracts.prices import price_per_hour
from spillway.contracts.resources import Resource
from spillway.contracts.standing import standing
from spillway.twin.aws.services import ROWS as AWS_ROWS
from spillway.twin.azure.services import BY_TOKEN as AZURE_ROWS
from tests.policies.support import resource
from tests.policies.test_cost import ENDPOINT, configuration, target

NAT = resource("aws:ec2/natGateway:NatGateway", in_region="us-east-1")
BURST = [configuration("ml.g5.xlarge"), ENDPOINT, target(minCapacity=2, maxCapacity=8)]


def burst() -> Stack:
    config, _, bounds = BURST
    named = resource("aws:sagemaker/endpoint:Endpoint", name="burst-endpoint", endpointConfigName="burst-config")
    config = resource(config.type, in_region="us-east-1", name="burst-config", **dict(config.props))
    return Stack([config, named, bounds, NAT, NAT])


def test_machines_cost_their_least_at_rest_and_their_most_at_peak() -> None:
    bill = bill_at_rest(burst())
    machines, nat = bill.lines
    each = price_per_hour("sagemaker", "ml.g5.xlarge", "us-east-1")
    assert (machines.usd_per_hour, machines.least, machines.most) == (each, 2, 8)
    assert (nat.what, nat.least) == ("nat gateway", 2)
    assert bill.month == pytest.approx(730 * (2 * each + 2 * 0.045))
    assert bill.month_at_peak == pytest.approx(730 * (8 * each + 2 * 0.045))
    assert bill.by_use == ("NAT gateways: bytes that pass, 0.045 $ (aws nat gb)",)


def test_the_stacks_own_price_wins_and_an_unknown_one_is_said_to_be() -> None:
    own = Stack(burst().resources, Context(prices={"sagemaker/ml.g5.xlarge/us-east-1": 1.0}))
    assert bill_at_rest(own).lines[0].usd_per_hour == 1.0
    node = resource("aws:ec2/instance:Instance", in_region="us-east-1", instanceType="x9.large")
    bill = bill_at_rest(Stack([node]))
    assert [line.what for line in bill.unknown] == ["x9.large (ec2)"]
    assert "cost_guard.prices: ec2/x9.large/us-east-1" in markdown(bill, "prod")
    assert bill_json(bill)["lines"][0]["usd_per_hour_each"] is None


def test_a_second_active_instance_of_a_vpn_gateway_costs_an_address() -> None:
    """A gateway has two instances either way, and with both active an address for each
    (https://learn.microsoft.com/azure/vpn-gateway/about-active-active-gateways, read on 2026-11-30)."""
    gateway = resource("azure-native:network:VirtualNetworkGateway", location="eastus", sku={"name": "VpnGw2AZ"})
    address = resource("azure-native:network:PublicIPAddress", location="eastus")
    alone, both = (bill_at_rest(Stack([gateway, *[address] * count])).month for count in (1, 2))
    assert alone is not None
    assert both == pytest.approx(alone + 730 * 0.005)


def test_another_regions_price_is_an_estimate() -> None:
    here, there = (resource(NAT.type, in_region=region) for region in ("us-east-1", "eu-west-1"))
    bill = bill_at_rest(Stack([here, there]))
    assert {line.place: line.estimate for line in bill.lines} == {"us-east-1": False, "eu-west-1": True}
    assert "(estimate)" in markdown(bill, "prod")


def test_tasks_disks_and_endpoints_are_counted_by_what_they_are_made_of() -> None:
    """Fargate by CPU and memory, an interface endpoint by zone, node disks by size and number."""
    task = resource("aws:ecs/taskDefinition:TaskDefinition", cpu="1024", memory="2048")
    task = type(task)(**{**vars(task), "id": "task"})
    service = resource("aws:ecs/service:Service", taskDefinition="task", desiredCount=2)
    endpoint = resource("aws:ec2/vpcEndpoint:VpcEndpoint", vpcEndpointType="Interface", subnetIds=["a", "b", "c"])
    bucket = resource("aws:ec2/vpcEndpoint:VpcEndpoint", vpcEndpointType="Gateway")
    nodes = resource("aws:eks/nodeGroup:NodeGroup", diskSize=100, scalingConfig={"desiredSize": 3})
    counts = {line.what: line.least for line in bill_at_rest(Stack([task, service, endpoint, bucket, nodes])).lines}
    assert counts == {"fargate vcpu": 2, "fargate gb": 4, "interface endpoint": 3, "gp3 gb": 300}


def test_a_machine_that_only_its_launch_template_describes_is_counted_with_its_disk() -> None:
    template = resource("aws:ec2/launchTemplate:LaunchTemplate", instanceType="t3.large",
                        blockDeviceMappings=[{"ebs": {"volumeSize": 50}}])  # fmt: skip
    template = type(template)(**{**vars(template), "id": "lt-1"})
    machine = resource("aws:ec2/instance:Instance", in_region="us-east-1", launchTemplate={"id": "lt-1"})
    lines = {line.what: line for line in bill_at_rest(Stack([template, machine])).lines}
    assert {what: line.least for what, line in lines.items()} == {"t3.large (ec2)": 1, "gp3 gb": 50}
    assert lines["t3.large (ec2)"].usd_per_hour == 0.0832, "as karpenter-provider-aws has it"


def test_what_grows_costs_more_at_its_most() -> None:
    task = resource("aws:ecs/taskDefinition:TaskDefinition", cpu="1024", memory="2048")
    task = type(task)(**{**vars(task), "id": "task"})
    service = resource("aws:ecs/service:Service", name="standby", taskDefinition="task", desiredCount=2)
    bounds = resource("aws:appautoscaling/target:Target", resourceId="service/standby/standby", maxCapacity=6)
    lines = {line.what: line for line in bill_at_rest(Stack([task, service, bounds])).lines}
    assert (lines["fargate vcpu"].least, lines["fargate vcpu"].most) == (2, 6)


def test_resolvers_health_checks_and_public_addresses_are_paid_by_what_they_have() -> None:
    """Expected: infracost's golden bills of route53_resolver_endpoint_test (two addresses: 182.50 $) and
    route53_health_check_test (TLS, text, interval and latency: 0.50 + 4.00 $)."""
    resolver = resource("aws:route53/resolverEndpoint:ResolverEndpoint", ipAddresses=[{"subnetId": "a"}, {}])
    check = resource("aws:route53/healthCheck:HealthCheck", type="HTTPS_STR_MATCH", requestInterval=10,
                     measureLatency=True)  # fmt: skip
    inside, outside = (
        resource("aws:lb/loadBalancer:LoadBalancer", internal=internal, subnets=["a", "b"])
        for internal in (True, False)
    )
    months = {line.what: round(line.month(line.least), 2) for line in
              bill_at_rest(Stack([resolver, check, inside, outside])).lines}  # fmt: skip
    assert months["resolver address"] == 182.5
    assert months["health check"] + months["health check option"] == 4.5
    assert months["public ipv4"] == 7.3, "of the one that is published"


def test_spot_nodes_cost_what_spot_does_where_somebody_knows_it_and_at_most_the_list_elsewhere() -> None:
    def node(type_: str) -> Resource:
        sizes = {"desiredSize": 1, "maxSize": 1}
        return resource(NODE_GROUP, in_region="us-east-1", instanceTypes=[type_], capacityType="SPOT",
                        scalingConfig=sizes)  # fmt: skip

    known, unknown = (bill_at_rest(Stack([node(name)])).lines[0] for name in ("g6.12xlarge", "g6.xlarge"))
    assert known.usd_per_hour == price_per_hour("ec2", "g6.12xlarge", "us-east-1", "spot")
    assert not known.estimate
    assert unknown.usd_per_hour == price_per_hour("ec2", "g6.xlarge", "us-east-1")
    assert unknown.estimate
    assert "no spot price is known" in unknown.source


def test_what_is_paid_by_use_is_a_line_as_far_as_it_is_said() -> None:
    used = bill_at_rest(burst(), used={"aws nat gb": 100.0})
    line = next(line for line in used.lines if line.what == "aws nat gb")
    assert line.month(line.least) == pytest.approx(4.5), "as infracost's nat_gateway_test has it"
    assert used.by_use == ()
    assert used.month == pytest.approx(bill_at_rest(burst()).month + 4.5)
    with pytest.raises(UsageError, match="'bytes' is nothing that is paid by use; there is aws egress gb"):
        bill_at_rest(burst(), used={"bytes": 1.0})


def test_a_kind_that_no_table_knows_has_a_line_without_a_price() -> None:
    bill = bill_at_rest(Stack([resource("aws:fsx/lustreFileSystem:LustreFileSystem", in_region="us-east-1")]))
    assert [line.what for line in bill.unknown] == ["aws:fsx/lustreFileSystem:LustreFileSystem"]
    assert "no table of the bill has its kind" in markdown(bill, "prod")


@pytest.mark.parametrize("type_", sorted([*AWS_ROWS, *AZURE_ROWS]))
def test_each_kind_that_a_stack_may_have_is_priced_or_said_not_to_be_and_why(type_: str) -> None:
    why = why_not_priced(type_)
    assert why != "no table of the bill has its kind"
    assert why == NOT_PRICED.get(type_, "")
    standing_there = {row[1] for row in STANDING} | set(BY_USE)
    assert not (type_ in NOT_PRICED and (type_ in standing_there or why_free(type_)))


@pytest.mark.parametrize("row", STANDING, ids=lambda row: row[2])
def test_what_stands_in_the_bill_has_a_price(row: tuple[str, str, str, object]) -> None:
    assert standing(f"{row[0]} {row[2]}") is not None


def test_what_is_paid_by_use_has_the_price_that_it_names() -> None:
    assert all(standing(use.price) for uses in BY_USE.values() for use in uses if use.price)


def test_a_change_is_told_line_by_line() -> None:
    before = {("nat gateway", "us-east-1"): 32.85, ("vpn connection", "us-east-1"): 36.5}
    own = Line("GPU of the cluster of one's own", "private", 0.5, 4, 4, "the stack file")
    text = markdown(bill_at_rest(burst(), [own]), "prod", before)
    assert "| nat gateway | us-east-1 | 0.0450 | 2 | 65.70 | 2 | 65.70 | +32.85 |" in text
    assert "| GPU of the cluster of one's own | private | 0.5000 | 4 | 1,460.00 | 4 | 1,460.00 | +1,460.00 |" in text
    assert "Gone: vpn connection in us-east-1, 36.50 $." in text
    assert "It was 69.35 $ at rest" in text


@pytest.mark.parametrize("what", ["aws nat gateway", "aws kms key", "azure aks standard", "ec2 m7i.xlarge"])
def test_a_standing_price_has_a_source_and_a_date(what: str) -> None:
    price = standing(what)
    assert price is not None
    assert 0 < price.usd_per_hour < 1
    assert "read on 2026-" in price.source
