from __future__ import annotations

import pytest

from components.connectivity.azure_settings import AzureBgpSettings, AzureVpnSettings
from components.connectivity.azure_vpn import AzureVpn, AzureVpnArgs, gateway_subnet
from components.connectivity.settings import VpnSettings
from tests.support.recording import Recorded, context, of_type, record


def vpn(azure: AzureVpnSettings | None = None) -> list[Recorded]:
    peer = VpnSettings(peer_address="203.0.113.10", peer_cidrs=("10.90.0.0/16",), azure=azure or AzureVpnSettings())
    args = AzureVpnArgs(
        settings=peer,
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


def test_both_instances_of_the_gateway_can_be_active() -> None:
    """https://learn.microsoft.com/azure/vpn-gateway/about-active-active-gateways: an address for each."""
    found = vpn(AzureVpnSettings(active_active=True))
    (gateway,) = of_type(found, "azure-native:network:VirtualNetworkGateway")
    addresses = [one["publicIPAddress"]["id"] for one in gateway.inputs["ipConfigurations"]]
    assert (gateway.inputs["activeActive"], len(set(addresses))) == (True, 2)
    names = {one.inputs["publicIpAddressName"] for one in of_type(found, "azure-native:network:PublicIPAddress")}
    assert names == {"spillway-test-vpn", "spillway-test-vpn-2"}
    (alone,) = of_type(vpn(), "azure-native:network:VirtualNetworkGateway")
    assert (alone.inputs["activeActive"], len(alone.inputs["ipConfigurations"])) == (False, 1)


def test_the_gateway_can_learn_what_is_behind_the_device() -> None:
    """https://learn.microsoft.com/azure/vpn-gateway/bgp-howto: the device's own BGP address is all that is given."""
    found = vpn(AzureVpnSettings(bgp=AzureBgpSettings(peer_address="10.90.0.1", asn=65020)))
    (gateway,) = of_type(found, "azure-native:network:VirtualNetworkGateway")
    assert (gateway.inputs["enableBgp"], gateway.inputs["bgpSettings"]) == (True, {"asn": 65020})
    (peer,) = of_type(found, "azure-native:network:LocalNetworkGateway")
    assert peer.inputs["bgpSettings"] == {"asn": 65010, "bgpPeeringAddress": "10.90.0.1"}
    assert peer.inputs["localNetworkAddressSpace"] == {"addressPrefixes": ["10.90.0.1/32"]}
    (connection,) = of_type(found, "azure-native:network:VirtualNetworkGatewayConnection")
    assert connection.inputs["enableBgp"] is True


@pytest.mark.parametrize(
    ("peer", "address", "says"),
    [
        (65515, "10.90.0.1", "peer_asn is 65515, which is Azure's own"),
        (65520, "10.90.0.1", "peer_asn is 65520, which is Azure's own"),
        (65010, "203.0.113.10", "the device's public address"),
        (65010, "169.254.21.2", "link-local"),
    ],
)
def test_what_azure_would_not_speak_with_is_refused(peer: int, address: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        VpnSettings(
            peer_address="203.0.113.10",
            peer_cidrs=("10.90.0.0/16",),
            peer_asn=peer,
            azure=AzureVpnSettings(bgp=AzureBgpSettings(peer_address=address)),
        )


def test_the_gateway_says_what_happens_to_its_tunnels() -> None:
    """https://learn.microsoft.com/azure/vpn-gateway/troubleshoot-vpn-with-azure-diagnostics"""
    found = vpn()
    (sent,) = of_type(found, "azure-native:monitor:DiagnosticSetting")
    assert sent.inputs["resourceUri"] == "spillway-test-azure-vpn-id"
    assert {log["category"] for log in sent.inputs["logs"]} >= {"TunnelDiagnosticLog", "IKEDiagnosticLog"}


def test_the_gateway_subnet_is_the_last_of_the_vnet() -> None:
    assert gateway_subnet("10.60.0.0/20") == "10.60.15.224/27"
