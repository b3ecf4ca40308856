from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.doors.vpc_endpoints import ENDPOINT
from spillway.conformance.flows.families.images import FAMILY, registry
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import ACCOUNT, allow, asked, made, network, policy, world


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("redis", "docker.io"),
        ("library/redis:8", "docker.io"),
        ("ghcr.io/a/b:1", "ghcr.io"),
        ("localhost/x", "localhost"),
    ],
)
def test_the_host_of_an_image(image: str, host: str) -> None:
    assert registry(image) == host


def plan(*statements: dict[str, Any], **values: Any) -> list[Resource]:
    props = {"serviceName": "com.amazonaws.us-east-1.s3", "vpcEndpointType": "Gateway", "vpcId": "vpc"}
    props |= {"routeTableIds": ["inner"], "policy": policy(*statements)}
    release = {"chart": "cluster-autoscaler", "namespace": "kube-system", "values": values}
    return [
        *network(),
        made(ENDPOINT, "s3", props),
        made("aws:eks/cluster:Cluster", "eks", {}),
        made("aws:eks/nodeGroup:NodeGroup", "nodes", {"subnetIds": ["private"]}),
        made("kubernetes:helm.sh/v3:Release", "autoscaler", release),
    ]


OURS = allow("*", Condition={"StringEquals": {"aws:PrincipalAccount": ACCOUNT}})
LAYERS = allow("s3:GetObject", "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*")
MIRROR = allow("s3:GetObject", "arn:aws:s3:::prod-registry-k8s-io-us-east-1/*")


@pytest.mark.parametrize(
    ("resources", "closed"),
    [
        (plan(OURS, LAYERS, MIRROR), 0),
        (plan(OURS, LAYERS), 1),
        (plan(OURS, MIRROR), 1),
        (plan(OURS, LAYERS, image={"repository": "mirror.example.com/autoscaler"}), 0),
    ],
)
def test_images_of_charts_behind_an_s3_endpoint(resources: list[Resource], closed: int) -> None:
    """https://github.com/prometheus-community/helm-charts/issues/2421"""
    found = [one for flow in FAMILY.flows(world(*resources)) for one in asked(flow.doors)]
    assert [one.resource.name for one in found if one.resource] == ["s3"] * closed


def test_nodes_of_aks_that_leave_by_routes_need_a_table() -> None:
    cluster = {
        "networkProfile": {"outboundType": "userDefinedRouting"},
        "agentPoolProfiles": [{"vnetSubnetID": "nodes"}],
    }
    for props, paths in (({}, ["routeTable"]), ({"routeTable": {"id": "t"}}, [])):
        found = world(
            made("azure-native:containerservice:ManagedCluster", "aks", cluster),
            made("azure-native:network:Subnet", "nodes", props),
        )
        assert [one.path for flow in FAMILY.flows(found) for one in asked(flow.doors)] == paths
