from __future__ import annotations

from components.connectivity.azure_vpn import AzureVpn, AzureVpnArgs, gateway_subnet
from components.connectivity.settings import VpnSettings
from tests.support.recording import Recorded, context, of_type, record


def vpn() -> list[Recorded]:
    args = AzureVpnArgs(
        settings=VpnSettings(peer_address="203.0.113.10", peer_cidrs=("10.90.0.0/16",)),
        resource_group_name="rg",
        location="eastus",
        vnet_name="vnet",
        vnet_cidr="10.41.0.0/16",
        pre_shared_key="a-secret",
    )
    return record(lambda: AzureVpn(context(), args))


def test_the_gateway_reaches_the_peer_with_its_key() -> None:
    found = vpn()
    (subnet,) = of_type(found, "azure-native:network:Subnet")
    assert subnet.inputs["subnetName"] == "GatewaySubnet"
    assert subnet.inputs["addressPrefix"] == "10.41.255.224/27"
    (peer,) = of_type(found, "azure-native:network:LocalNetworkGateway")
    assert peer.inputs["gatewayIpAddress"] == "203.0.113.10"
    (connection,) = of_type(found, "azure-native:network:VirtualNetworkGatewayConnection")
    assert connection.inputs["connectionType"] == "IPsec"
    (policy,) = connection.inputs["ipsecPolicies"]
    # Group 20 of RFC 5903 is the 384-bit curve: what the AWS side of components/connectivity/aws_vpn.py asks for.
    assert (policy["ikeEncryption"], policy["ipsecEncryption"]) == ("GCMAES256", "GCMAES256")
    assert (policy["dhGroup"], policy["pfsGroup"]) == ("ECP384", "ECP384")


def test_the_gateway_says_what_happens_to_its_tunnels() -> None:
    """https://learn.microsoft.com/azure/vpn-gateway/troubleshoot-vpn-with-azure-diagnostics"""
    found = vpn()
    (sent,) = of_type(found, "azure-native:monitor:DiagnosticSetting")
    assert sent.inputs["resourceUri"] == "spillway-test-azure-vpn-id"
    assert {log["category"] for log in sent.inputs["logs"]} >= {"TunnelDiagnosticLog", "IKEDiagnosticLog"}


def test_the_gateway_subnet_is_the_last_of_the_vnet() -> None:
    assert gateway_subnet("10.60.0.0/20") == "10.60.15.224/27"
