"""GPU nodes on Elastic Fabric Adapters, against what EC2 itself says of its machines."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from spillway.contracts.network_cards import network
from tests.components.private_cluster.test_eks import LAUNCH_TEMPLATE, eks, named
from tests.support.recording import Recorded, of_type

GROUP = "aws:ec2/securityGroup:SecurityGroup"


@cache
def machines() -> dict[str, Any]:
    """DescribeInstanceTypes, as moto keeps it."""
    return json.loads(gzip.decompress(files("moto.ec2").joinpath("resources/instance_types.json.gz").read_bytes()))


def template(instance_type: str, gpus: int, efa: bool = True) -> tuple[Recorded, list[Recorded]]:
    resources = eks(efa=efa, gpu_pool={"instance_type": instance_type, "gpus_per_node": gpus})
    return named(resources, LAUNCH_TEMPLATE, "gpu"), resources


@pytest.mark.parametrize(
    ("instance_type", "gpus"),
    [("p5.48xlarge", 8), ("p5en.48xlarge", 8), ("p4d.24xlarge", 8), ("g6e.12xlarge", 4), ("p6-b300.48xlarge", 8)],
)
def test_each_card_has_what_ec2_lets_it_have(instance_type: str, gpus: int) -> None:
    told = machines()[instance_type]["NetworkInfo"]
    cards = {card["NetworkCardIndex"]: card for card in told["NetworkCards"]}
    interfaces = template(instance_type, gpus)[0].inputs["networkInterfaces"]

    assert [one["interfaceType"] for one in interfaces].count("efa-only") == told["EfaInfo"]["MaximumEfaInterfaces"]
    for one in interfaces:
        assert one["interfaceType"] in cards[one["networkCardIndex"]]["InterfaceTypes"]
    for card, count in Counter(one["networkCardIndex"] for one in interfaces).items():
        assert count <= cards[card]["MaximumNetworkInterfaces"]
    places = [(one["networkCardIndex"], one["deviceIndex"]) for one in interfaces]
    assert len(set(places)) == len(places)
    # The node's own address: an interface of EFA's alone has none.
    assert [one["interfaceType"] for one in interfaces if (one["networkCardIndex"], one["deviceIndex"]) == (0, 0)] == [
        "interface"
    ]


def test_adapters_may_exchange_anything_among_themselves() -> None:
    gpu, resources = template("p5.48xlarge", 8)
    (group,) = (one for one in of_type(resources, GROUP) if one.name.endswith("-efa"))
    for direction in ("ingress", "egress"):
        (rule,) = group.inputs[direction]
        assert (rule["protocol"], rule["self"]) == ("-1", True)
    # EKS gives its own group to interfaces that name none; who names one, names all.
    assert {len(one["securityGroups"]) for one in gpu.inputs["networkInterfaces"]} == {2}


def test_nodes_stand_together_and_set_pages_aside() -> None:
    gpu, resources = template("p5.48xlarge", 8)
    (placement,) = of_type(resources, "aws:ec2/placementGroup:PlacementGroup")
    assert placement.inputs["strategy"] == "cluster"
    assert gpu.inputs["placement"]["groupName"] == placement.inputs["name"]
    told = base64.b64decode(gpu.inputs["userData"]).decode()
    pages = re.search(r"vm.nr_hugepages=(\d+)", told)
    assert pages is not None
    # What a server of the whole node asks for, of pages of 2 MiB.
    assert int(pages[1]) * 2 >= 5120
    assert told.count("--BOUNDARY") == 3
    assert "strategy: RAID0" in told


def test_servers_of_one_node_need_none() -> None:
    gpu, resources = template("p5.48xlarge", 8, efa=False)
    assert "networkInterfaces" not in gpu.inputs
    assert "nr_hugepages" not in base64.b64decode(gpu.inputs["userData"]).decode()
    assert of_type(resources, "aws:ec2/placementGroup:PlacementGroup") == []


def test_every_gpu_machine_is_known_as_ec2_tells_of_it() -> None:
    for name, told in machines().items():
        if "GpuInfo" in told:
            found = network(name)
            assert found is not None
            assert found.efa == told["NetworkInfo"].get("EfaInfo", {}).get("MaximumEfaInterfaces", 0), name
    assert network("m7i.xlarge") is None
