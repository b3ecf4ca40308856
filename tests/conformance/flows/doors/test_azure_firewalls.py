from __future__ import annotations

import pytest

from spillway.conformance.flows.addresses import ranges
from spillway.conformance.flows.doors import azure_firewalls
from tests.conformance.flows.plans import asked, azure, kubernetes, made, world

INTERNAL = {"annotations": {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}}


@pytest.mark.parametrize(
    ("destination", "metadata", "open_"),
    [
        # https://github.com/Azure/AKS/issues/674: a packet for a public Service is addressed to the frontend.
        ("VirtualNetwork", {}, False),
        ("203.0.113.10", {}, True),
        ("*", {}, True),
        ("VirtualNetwork", INTERNAL, True),
    ],
)
def test_clients_of_a_service_in_aks(destination: str, metadata: dict[str, dict[str, str]], open_: bool) -> None:
    allowed = {"name": "https", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp"}
    allowed |= {"sourceAddressPrefixes": ["198.51.100.0/24"], "destinationAddressPrefix": destination}
    denied = {**allowed, "name": "deny-internet", "priority": 4000, "access": "Deny", "sourceAddressPrefixes": []}
    denied |= {"sourceAddressPrefix": "Internet", "destinationAddressPrefix": "*", "destinationPortRange": "*"}
    rules = [{**allowed, "destinationPortRange": "443"}, denied]
    service = kubernetes("core/v1:Service", "gateway", metadata=metadata, spec={"type": "LoadBalancer"})
    plan = world(
        azure("network:VirtualNetwork", "net", {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}),
        made(
            "azure-native:network:Subnet",
            "nodes",
            {"addressPrefix": "10.9.0.0/17", "networkSecurityGroup": {"id": "nsg"}},
        ),
        made(
            "azure-native:network:NetworkSecurityGroup",
            "nsg",
            {"networkSecurityGroupName": "nsg", "securityRules": rules},
        ),
        azure("containerservice:ManagedCluster", "aks", {"agentPoolProfiles": [{"vnetSubnetID": "nodes"}]}),
        service,
    )
    found = asked(azure_firewalls.to_service(plan, service, ranges("198.51.100.0/24"), 443))
    assert [one.path for one in found] == ([] if open_ else ["securityRules"])
