"""The quotas that a plan needs, and what the clouds say of them: Service Quotas by moto, Azure's usages by the twin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from spillway.conformance.graph import Graph
from spillway.conformance.places.live import Answer, ask, azure_get
from spillway.conformance.places.quotas import Need, azure_family, needs, vcpus
from spillway.twin.azure.account import SUBSCRIPTION_ID
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.azure.usages import LIMIT
from tests.conformance.plan import made
from tests.support.twin_server import Driver, serve
from tests.twin.azure.samples import SAMPLES


@pytest.mark.parametrize(
    ("type_", "cores"),
    [
        ("g6.12xlarge", 48),
        ("p5.48xlarge", 192),
        ("t3.small", 2),
        ("m7i.large", 2),
        ("g4dn.xlarge", 4),
        ("x.metal", None),
    ],
)
def test_virtual_cores(type_: str, cores: int | None) -> None:
    """https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html"""
    assert vcpus(type_) == cores


def test_nodes_count_by_their_family() -> None:
    group = made(
        "aws:eks/nodeGroup:NodeGroup",
        "gpu",
        {
            "instanceTypes": ["g6.12xlarge"],
            "scalingConfig": {"minSize": 3, "maxSize": 6, "desiredSize": 3},
            "subnetIds": ["a", "b", "c"],
        },
    )
    [need] = needs(Graph([group]))
    assert (need.code, need.quota) == ("L-DB2E81BA", "Running On-Demand G and VT instances")
    assert (need.rest, need.peak, need.changing) == (144, 288, 432)
    spot = made(group.type, "spot", {**group.props, "capacityType": "SPOT"})
    assert [one.code for one in needs(Graph([spot]))] == ["L-3819A6DF"]


def test_a_pool_that_is_upgraded_in_its_place_needs_no_node_more() -> None:
    def changing(surge: dict[str, str]) -> float:
        props = {"vmSize": "Standard_NC4as_T4_v3", "count": 2, "upgradeSettings": surge}
        [need] = needs(Graph([made("azure-native:containerservice:AgentPool", "gpu", props)]))
        return need.changing

    assert changing({}) == changing({"maxSurge": "1"}) == 12
    assert changing({"maxSurge": "0", "maxUnavailable": "1"}) == 8


def test_an_online_deployment_keeps_a_fifth_for_upgrades() -> None:
    def deployment(size: str) -> Graph:
        props = {"location": "eastus", "sku": {"capacity": 2}, "properties": {"instanceType": size}}
        scale = {"targetResourceUri": "/blue", "profiles": [{"capacity": {"maximum": "6"}}]}
        return Graph(
            [
                made("azure-native:machinelearningservices:OnlineDeployment", "blue", props, id_="/blue"),
                made("azure-native:monitor:AutoscaleSetting", "scale", scale),
            ]
        )

    [t4] = needs(deployment("Standard_NC4as_T4_v3"))
    assert (t4.quota, t4.rest, t4.peak) == ("standardNCASv3_T4Family", 12, 32)
    [a100] = needs(deployment("Standard_NC24ads_A100_v4"))
    assert (a100.rest, a100.peak) == (48, 144)
    assert azure_family("Standard_D4s_v5") == ""


def test_reservations_leave_a_hundred_to_the_others() -> None:
    functions = [made("aws:lambda/function:Function", f"f{n}", {"reservedConcurrentExecutions": 1}) for n in range(2)]
    assert [(n.code, n.rest) for n in needs(Graph(functions))] == [("L-B99A9384", 102)]
    assert needs(Graph([made("aws:lambda/function:Function", "f", {"reservedConcurrentExecutions": -1})])) == []


@pytest.mark.heavy
def test_what_prod_needs(prod: Graph) -> None:
    """The figures of two reviews of this stack, worked out by hand."""
    found = {need.code or need.quota: need for need in needs(prod)}
    nodes = found["L-DB2E81BA"]
    assert (nodes.rest, nodes.peak) == (144, 288)
    endpoints = found["ml.g5.xlarge for endpoint usage"]
    assert (endpoints.rest, endpoints.peak, endpoints.changing) == (3, 12, 6)
    assert found["standardNCASv3_T4Family"].rest == 12
    assert found["L-29B6F2EB"].rest == 21


def _need(code: str, quota: str, rest: float, peak: float, service: str = "vpc", region: str = "us-east-1") -> Need:
    return Need(service, code, quota, region, "pieces", rest, peak, rest)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        yield lambda region: boto3.client("service-quotas", region_name=region)


def test_service_quotas_are_asked_by_code(clients: Any) -> None:
    """Moto has AWS' own defaults of VPC: 50 interface endpoints, 5 VPCs."""
    wanted = [
        _need("L-29B6F2EB", "Interface VPC endpoints per VPC", 21, 21),
        _need("L-F678F1CE", "VPCs per Region", 1, 6),
        _need("L-FE5A380F", "NAT gateways per Availability Zone", 6, 6),
        _need("L-00000000", "none", 1, 1),
    ]
    answers = ask(wanted, clients, None, SUBSCRIPTION_ID)
    assert [(answer.limit, answer.verdict) for answer in answers[:3]] == [
        (50.0, "fits"),
        (5.0, "short at peak"),
        (5.0, "short"),
    ]
    assert answers[3].verdict == "unknown"
    assert "NoSuchResource" in answers[3].said


def test_quotas_without_a_code_are_found_by_name_and_what_was_granted_counts() -> None:
    client = boto3.client("service-quotas", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    quota = {"QuotaName": "ml.g5.xlarge for endpoint usage"}
    with Stubber(client) as stub:
        asked = {"ServiceCode": "sagemaker"}
        stub.add_response("list_aws_default_service_quotas", {"Quotas": [{**quota, "Value": 0.0}]}, asked)
        stub.add_response("list_service_quotas", {"Quotas": [], "NextToken": "more"}, asked)
        more = {**asked, "NextToken": "more"}
        stub.add_response("list_service_quotas", {"Quotas": [{**quota, "Value": 8.0}]}, more)
        need = _need("", "ml.g5.xlarge for endpoint usage", 3, 12, "sagemaker")
        [answer] = ask([need], lambda _: client, None, SUBSCRIPTION_ID)
    assert answer == Answer(need, limit=8.0)
    assert answer.verdict == "short at peak"


def test_azure_is_asked_what_is_in_use(azure_endpoint: str) -> None:
    driver = Driver(AzureStandIn(azure_endpoint))
    for kind, inputs in SAMPLES.items():
        driver.create(f"azure-native:{kind}", "thing", dict(inputs))
        if kind == "machinelearningservices:OnlineDeployment":
            break
    needed = _need("", "standardNCASv3_T4Family", 8, 24, "Microsoft.MachineLearningServices", "westeurope")
    unheard = _need("", "standardNDSH100v5Family", 96, 96, "Microsoft.MachineLearningServices", "westeurope")
    answers = ask([needed, unheard], None, azure_get(azure_endpoint, "a-token"), SUBSCRIPTION_ID)
    assert (answers[0].limit, answers[0].used) == (LIMIT, 4)
    assert answers[0].verdict == "short at peak"
    assert answers[1].verdict == "unknown"


def test_without_credentials_nothing_is_known() -> None:
    answers = ask([_need("L-F678F1CE", "VPCs per Region", 1, 1)], None, None, SUBSCRIPTION_ID)
    assert [(a.verdict, a.said) for a in answers] == [("unknown", "no credentials for AWS")]


@pytest.fixture(scope="module")
def azure_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve("azure", tmp_path_factory.mktemp("azure")) as url:
        yield url
