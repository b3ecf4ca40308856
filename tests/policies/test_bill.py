"""What a stack costs at rest. Whole example stacks: tests/conformance/test_bills.py."""

from __future__ import annotations

import pytest

from policies.bill import Line, bill_at_rest, bill_json, markdown
from policies.resources import Context, Stack
from spillway.contracts.prices import price_per_hour
from spillway.contracts.standing import standing
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
    assert bill.by_use == ("NAT gateways and endpoints: bytes that pass",)


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
