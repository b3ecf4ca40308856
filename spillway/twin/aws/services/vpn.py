"""EC2: the connection to the private site."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Call, RefusedError
from spillway.twin.aws.row import Part, Row
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service
from spillway.twin.aws.services.ec2 import arn, by_id

_ROWS = (
    by_id(
        "CustomerGateway",
        "CreateCustomerGateway",
        "@CustomerGateway.CustomerGatewayId",
        "DescribeCustomerGateways",
        "CustomerGatewayIds",
        "DeleteCustomerGateway",
        "CustomerGatewayId",
        gone="State=='deleted'",
        tag_kind="customer-gateway",
        rename={"bgpAsnExtended": "BgpAsnExtended"},
        outputs={"arn": arn("customer-gateway")},
        samples=(
            Sample("customer", {"bgpAsn": "65000", "ipAddress": "198.51.100.7", "type": "ipsec.1", "tags": OWNED}),
        ),
    ),
    by_id(
        "VpnGateway",
        "CreateVpnGateway",
        "@VpnGateway.VpnGatewayId",
        "DescribeVpnGateways",
        "VpnGatewayIds",
        "DeleteVpnGateway",
        "VpnGatewayId",
        gone="State=='deleted'",
        tag_kind="vpn-gateway",
        fixed={"Type": "ipsec.1"},
        parts=(Part("AttachVpnGateway", ("vpcId",), key={"VpnGatewayId": "{id}"}),),
        replaces=("vpcId",),
        outputs={"arn": arn("vpn-gateway")},
        before_delete=lambda call, scope: (
            scope.get("vpcId") and call("DetachVpnGateway", {"VpnGatewayId": scope["id"], "VpcId": scope["vpcId"]})
        ),
        samples=(Sample("vgw", {"vpcId": "$vpc.id", "tags": OWNED}),),
    ),
    by_id(
        "VpnConnection",
        "CreateVpnConnection",
        "@VpnConnection.VpnConnectionId",
        "DescribeVpnConnections",
        "VpnConnectionIds",
        "DeleteVpnConnection",
        "VpnConnectionId",
        gone="State=='deleted'",
        tag_kind="vpn-connection",
        rename={"staticRoutesOnly": "Options.StaticRoutesOnly", "localIpv4NetworkCidr": "Options.LocalIpv4NetworkCidr"}
        | {
            "remoteIpv4NetworkCidr": "Options.RemoteIpv4NetworkCidr",
            "enableAcceleration": "Options.EnableAcceleration",
        },
        local=tuple(
            f"tunnel{number}{setting}"
            for number in (1, 2)
            for setting in [
                "InsideCidr",
                "InsideIpv6Cidr",
                "PresharedKey",
                "DpdTimeoutAction",
                "DpdTimeoutSeconds",
                "EnableTunnelLifecycleControl",
                "IkeVersions",
                "LogOptions",
                "Phase1DhGroupNumbers",
                "Phase1EncryptionAlgorithms",
                "Phase1IntegrityAlgorithms",
                "Phase1LifetimeSeconds",
                "Phase2DhGroupNumbers",
                "Phase2EncryptionAlgorithms",
                "Phase2IntegrityAlgorithms",
                "Phase2LifetimeSeconds",
                "RekeyFuzzPercentage",
                "RekeyMarginTimeSeconds",
                "ReplayWindowSize",
                "StartupAction",
            ]
        ),
        outputs={
            "arn": arn("vpn-connection"),
            "tunnel1Address": "@Options.TunnelOptions[0].OutsideIpAddress",
            "tunnel2Address": "@Options.TunnelOptions[1].OutsideIpAddress",
        },
        note="tunnel options are only recorded; no tunnel exists",
        samples=(
            Sample(
                "vpn",
                {
                    "customerGatewayId": "$customer.id",
                    "vpnGatewayId": "$vgw.id",
                    "type": "ipsec.1",
                    "staticRoutesOnly": True,
                    "tunnel1IkeVersions": ["ikev2"],
                    "tags": OWNED,
                },
            ),
        ),
    ),
    Row(
        token="aws:ec2/vpnConnectionRoute:VpnConnectionRoute",
        service="ec2",
        create="CreateVpnConnectionRoute",
        id="{destinationCidrBlock}:{vpnConnectionId}",
        key={"VpnConnectionId": "{vpnConnectionId}", "DestinationCidrBlock": "{destinationCidrBlock}"},
        read="DescribeVpnConnections",
        read_key={"VpnConnectionIds": ["{vpnConnectionId}"]},
        live="VpnConnections[0].Routes[?DestinationCidrBlock=='{destinationCidrBlock}'] | [0]",
        delete="DeleteVpnConnectionRoute",
        name="",
        coverage="recorded",
        samples=(Sample("vpn-route", {"destinationCidrBlock": "192.168.0.0/16", "vpnConnectionId": "$vpn.id"}),),
    ),
    Row(
        token="aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation",
        service="ec2",
        create="EnableVgwRoutePropagation",
        rename={"vpnGatewayId": "GatewayId"},
        id="{vpnGatewayId}_{routeTableId}",
        key={"GatewayId": "{vpnGatewayId}", "RouteTableId": "{routeTableId}"},
        read="DescribeRouteTables",
        read_key={"RouteTableIds": ["{routeTableId}"]},
        live="RouteTables[0].PropagatingVgws[?GatewayId=='{vpnGatewayId}'] | [0]",
        delete="DisableVgwRoutePropagation",
        name="",
        coverage="recorded",
        samples=(Sample("propagation", {"vpnGatewayId": "$vgw.id", "routeTableId": "$table.id"}),),
    ),
)


def _ec2_backend(call: Call) -> Any:
    from moto.ec2.models import ec2_backends

    return ec2_backends[call.account][call.region]


def _create_vpn_route(call: Call) -> dict[str, Any]:
    connection = _vpn(call)
    cidr = call.params["DestinationCidrBlock"]
    connection.routes = [r for r in getattr(connection, "routes", []) if r["DestinationCidrBlock"] != cidr]
    connection.routes.append({"DestinationCidrBlock": cidr, "Source": "Static", "State": "available"})
    return {}


def _delete_vpn_route(call: Call) -> dict[str, Any]:
    connection = _vpn(call)
    cidr = call.params["DestinationCidrBlock"]
    if cidr not in [route["DestinationCidrBlock"] for route in getattr(connection, "routes", [])]:
        raise RefusedError("InvalidRoute.NotFound", f"no route to {cidr}")
    connection.routes = [route for route in connection.routes if route["DestinationCidrBlock"] != cidr]
    return {}


def _vpn(call: Call) -> Any:
    connection = _ec2_backend(call).vpn_connections.get(call.params["VpnConnectionId"])
    if connection is None:
        raise RefusedError("InvalidVpnConnectionID.NotFound", f"{call.params['VpnConnectionId']} does not exist")
    return connection


def _enable_propagation(call: Call) -> dict[str, Any]:
    table = _route_table(call)
    held = [item for item in getattr(table, "propagating_vgws", []) if item["GatewayId"] != call.params["GatewayId"]]
    table.propagating_vgws = [*held, {"GatewayId": call.params["GatewayId"]}]
    return {}


def _disable_propagation(call: Call) -> dict[str, Any]:
    table = _route_table(call)
    held = getattr(table, "propagating_vgws", [])
    table.propagating_vgws = [item for item in held if item["GatewayId"] != call.params["GatewayId"]]
    return {}


def _route_table(call: Call) -> Any:
    table = _ec2_backend(call).route_tables.get(call.params["RouteTableId"])
    if table is None:
        raise RefusedError("InvalidRouteTableID.NotFound", f"{call.params['RouteTableId']} does not exist")
    return table


SERVICE = Service(
    "ec2",
    _ROWS,
    answers={
        "EnableVgwRoutePropagation": _enable_propagation,
        "DisableVgwRoutePropagation": _disable_propagation,
        "CreateVpnConnectionRoute": _create_vpn_route,
        "DeleteVpnConnectionRoute": _delete_vpn_route,
    },
)
