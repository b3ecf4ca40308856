"""What the example stacks cost at rest: each standing thing has a price, and the sum is that of the cost guard."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policies.bill import bill_at_rest
from policies.resources import Stack
from spillway.conformance.graph import Graph
from spillway.contracts.prices import price_per_hour

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_every_line_of_an_example_has_a_price(rehearsed: Callable[[str], Graph], name: str) -> None:
    bill = bill_at_rest(Stack(rehearsed(name).resources))
    assert bill.unknown == ()
    assert bill.month_at_peak > bill.month > 0


def test_prod_costs_its_machines_and_what_stands_around_them(prod: Graph) -> None:
    bill = bill_at_rest(Stack(prod.resources))
    lines = {line.what: line for line in bill.lines if line.place != "eastus" or line.what.startswith("Standard_")}
    nodes, burst, azure = (lines[f"{name}"] for name in ("g6.12xlarge (ec2)", "ml.g5.xlarge (sagemaker)",
                                                         "Standard_NC4as_T4_v3 (azure)"))  # fmt: skip
    assert (nodes.least, nodes.most) == (3, 6)
    # The asynchronous endpoint sleeps at rest and may grow to four; so does Azure's batch cluster.
    assert (burst.least, burst.most) == (2, 8 + 4)
    assert azure.least == 2
    assert nodes.usd_per_hour == price_per_hour("ec2", "g6.12xlarge", "us-east-1")
    assert lines["nat gateway"].least == 3
    assert {"eks cluster", "vpn connection", "load balancer", "fargate vcpu", "kms key"} <= lines.keys()
    assert {"resolver address", "t3.large (ec2)"} <= lines.keys(), "the VPN's resolver, and the machine that deploys"
