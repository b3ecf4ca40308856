from __future__ import annotations

import pytest

from spillway.contracts.resources import UNKNOWN, Resource
from tests.policies.support import Case, check_case, found, resource


def group(*cidrs: str) -> Resource:
    rule = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": list(cidrs)}
    return resource("aws:ec2/securityGroup:SecurityGroup", ingress=[rule])


def azure_group(source: str) -> Resource:
    rule = {"direction": "Inbound", "access": "Allow", "sourceAddressPrefix": source}
    return resource("azure-native:network:NetworkSecurityGroup", securityRules=[rule])


def service(**spec: object) -> Resource:
    return resource("kubernetes:core/v1:Service", metadata={}, spec={"type": "LoadBalancer", **spec})


def eks(*, public: bool, cidrs: list[str]) -> Resource:
    config = {"endpointPublicAccess": public, "publicAccessCidrs": cidrs}
    return resource("aws:eks/cluster:Cluster", vpcConfig=config)


def aks(**profile: object) -> Resource:
    return resource("azure-native:containerservice:ManagedCluster", apiServerAccessProfile=profile)


def subnet(public: bool) -> Resource:
    return resource("aws:ec2/subnet:Subnet", mapPublicIpOnLaunch=public)


def vault(access: str) -> Resource:
    return resource("azure-native:keyvault:Vault", properties={"publicNetworkAccess": access})


CASES = {
    "closed-security-groups": Case([group("10.0.0.0/8")], [group("10.0.0.0/8", "0.0.0.0/0")]),
    "closed-load-balancers": Case([service(loadBalancerSourceRanges=["198.51.100.0/24"])], [service()]),
    "closed-api-server": Case([eks(public=False, cidrs=[])], [eks(public=True, cidrs=["0.0.0.0/0"])]),
    "no-public-machines": Case([subnet(False)], [subnet(True)]),
    "private-azure-services": Case([vault("disabled")], [vault("Enabled")]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_the_same_on_azure() -> None:
    check_case("closed-security-groups", Case([azure_group("10.0.0.0/8")], [azure_group("Internet")]))
    check_case("closed-api-server", Case([aks(enablePrivateCluster=True)], [aks(enablePrivateCluster=False)]))
    pools = [{"enableNodePublicIP": True}]
    cluster = resource("azure-native:containerservice:ManagedCluster", agentPoolProfiles=pools)
    check_case("no-public-machines", Case([], [cluster]))


def test_an_internal_load_balancer_admits_whom_the_network_admits() -> None:
    annotations = {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}
    internal = resource(
        "kubernetes:core/v1:Service", metadata={"annotations": annotations}, spec={"type": "LoadBalancer"}
    )
    assert found("closed-load-balancers", [internal]).violations == ()


def test_what_is_not_known_yet_passes() -> None:
    unknown = [
        resource("aws:ec2/securityGroup:SecurityGroup", ingress=UNKNOWN),
        service(loadBalancerSourceRanges=UNKNOWN),
        resource("aws:eks/cluster:Cluster", vpcConfig=UNKNOWN),
        subnet(UNKNOWN),  # pyright: ignore[reportArgumentType]
        resource("azure-native:keyvault:Vault", properties=UNKNOWN),
    ]
    for policy in CASES:
        assert found(policy, unknown).violations == ()
