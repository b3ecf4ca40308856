"""EC2: networks and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.contracts import health_checkers
from spillway.twin.aws.row import Part, Row, Scope
from spillway.twin.aws.sample import ALLOW, OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service
from spillway.twin.aws.services.ec2 import arn, by_id


def _attribute(key: str, pairs: Mapping[str, str], scope: Scope) -> list[dict[str, Any]]:
    """EC2 changes one attribute a call."""
    return [
        {key: scope["id"], member: {"Value": scope[name]}}
        for name, member in pairs.items()
        if scope.get(name) is not None
    ]


def _vpc_attributes(scope: Scope) -> list[dict[str, Any]]:
    return _attribute(
        "VpcId", {"enableDnsSupport": "EnableDnsSupport", "enableDnsHostnames": "EnableDnsHostnames"}, scope
    )


def _subnet_attributes(scope: Scope) -> list[dict[str, Any]]:
    return _attribute("SubnetId", {"mapPublicIpOnLaunch": "MapPublicIpOnLaunch"}, scope)


_ROUTE_TARGETS = {
    "cidrBlock": "DestinationCidrBlock",
    "ipv6CidrBlock": "DestinationIpv6CidrBlock",
    "destinationPrefixListId": "DestinationPrefixListId",
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "transitGatewayId": "TransitGatewayId",
    "vpcEndpointId": "VpcEndpointId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
    "networkInterfaceId": "NetworkInterfaceId",
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
}


def _route(table: str, route: Mapping[str, Any]) -> dict[str, Any]:
    return {"RouteTableId": table} | {_ROUTE_TARGETS[k]: v for k, v in route.items() if v and k in _ROUTE_TARGETS}


def _new_routes(scope: Scope) -> list[dict[str, Any]]:
    old = scope.get("old", {}).get("routes") or []
    return [_route(scope["id"], route) for route in scope.get("routes") or [] if route not in old]


def _old_routes(scope: Scope) -> list[dict[str, Any]]:
    new = scope.get("routes") or []
    old = [route for route in scope.get("old", {}).get("routes") or [] if route not in new]
    return [
        {k: v for k, v in _route(scope["id"], route).items() if k.startswith(("RouteTableId", "Destination"))}
        for route in old
    ]


def _endpoint_changes(scope: Scope) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"VpcEndpointId": scope["id"]}
    for name, member in (
        ("subnetIds", "SubnetIds"),
        ("routeTableIds", "RouteTableIds"),
        ("securityGroupIds", "SecurityGroupIds"),
    ):
        old, new = set(scope["old"].get(name) or []), set(scope.get(name) or [])
        params |= {f"Add{member}": sorted(new - old), f"Remove{member}": sorted(old - new)}
    if scope.get("policy") != scope["old"].get("policy"):
        params |= {"PolicyDocument": scope["policy"]} if scope.get("policy") else {"ResetPolicy": True}
    if scope.get("privateDnsEnabled") is not None:
        params["PrivateDnsEnabled"] = scope["privateDnsEnabled"]
    return [{key: value for key, value in params.items() if value != []}]


_ROWS = (
    by_id(
        "Vpc",
        "CreateVpc",
        "@Vpc.VpcId",
        "DescribeVpcs",
        "VpcIds",
        "DeleteVpc",
        "VpcId",
        tag_kind="vpc",
        parts=(Part("ModifyVpcAttribute", ("enableDnsSupport", "enableDnsHostnames"), build=_vpc_attributes),),
        local=("enableNetworkAddressUsageMetrics",),
        outputs={"arn": arn("vpc")},
        note="network address usage metrics are only recorded",
        samples=(
            Sample(
                "vpc",
                {"cidrBlock": "10.0.0.0/16", "enableDnsHostnames": True, "enableDnsSupport": True, "tags": OWNED},
                change={"tags": {"owner": "other"}, "enableDnsHostnames": False},
                replace={"cidrBlock": "10.1.0.0/16"},
            ),
        ),
    ),
    by_id(
        "Subnet",
        "CreateSubnet",
        "@Subnet.SubnetId",
        "DescribeSubnets",
        "SubnetIds",
        "DeleteSubnet",
        "SubnetId",
        tag_kind="subnet",
        parts=(Part("ModifySubnetAttribute", ("mapPublicIpOnLaunch",), build=_subnet_attributes),),
        local=(
            "assignIpv6AddressOnCreation",
            "enableDns64",
            "enableResourceNameDnsARecordOnLaunch",
            "enableResourceNameDnsAaaaRecordOnLaunch",
            "privateDnsHostnameTypeOnLaunch",
        ),
        outputs={"arn": "@SubnetArn"},
        note="DNS-on-launch and IPv6 assignment settings are only recorded",
        samples=(
            Sample(
                "subnet",
                {"vpcId": "$vpc.id", "cidrBlock": "10.0.1.0/24", "availabilityZone": "eu-west-1a", "tags": OWNED},
                change={"mapPublicIpOnLaunch": True},
            ),
            Sample(
                "subnet-b",
                {
                    "vpcId": "$vpc.id",
                    "cidrBlock": "10.0.2.0/24",
                    "availabilityZone": "eu-west-1b",
                    "mapPublicIpOnLaunch": True,
                },
            ),
        ),
    ),
    by_id(
        "RouteTable",
        "CreateRouteTable",
        "@RouteTable.RouteTableId",
        "DescribeRouteTables",
        "RouteTableIds",
        "DeleteRouteTable",
        "RouteTableId",
        tag_kind="route-table",
        parts=(
            Part("DeleteRoute", ("routes",), build=_old_routes),
            Part("CreateRoute", ("routes",), build=_new_routes),
        ),
        local=("propagatingVgws",),
        outputs={"arn": arn("route-table")},
        note="propagating gateways are only recorded",
        samples=(
            Sample("table", {"vpcId": "$vpc.id", "tags": OWNED}),
            Sample(
                "table-inline",
                {"vpcId": "$vpc.id", "routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": "$gateway.id"}]},
                change={"routes": [{"cidrBlock": "10.9.0.0/16", "gatewayId": "$gateway.id"}]},
            ),
        ),
    ),
    Row(
        token="aws:ec2/route:Route",
        service="ec2",
        create="CreateRoute",
        id="r-{routeTableId}-{destinationCidrBlock}",
        key={"RouteTableId": "{routeTableId}", "DestinationCidrBlock": "{destinationCidrBlock}"},
        read="DescribeRouteTables",
        read_key={"RouteTableIds": ["{routeTableId}"]},
        live="RouteTables[0].Routes[?DestinationCidrBlock=='{destinationCidrBlock}'] | [0]",
        delete="DeleteRoute",
        rename={"egressOnlyGatewayId": "EgressOnlyInternetGatewayId"},
        parts=(Part("ReplaceRoute", update_only=True),),
        replaces=("routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"),
        name="",
        note="IPv4 destinations",
        samples=(
            Sample(
                "route",
                {"routeTableId": "$table.id", "destinationCidrBlock": "0.0.0.0/0", "natGatewayId": "$nat.id"},
                change={"natGatewayId": None, "gatewayId": "$gateway.id"},
            ),
        ),
    ),
    Row(
        token="aws:ec2/routeTableAssociation:RouteTableAssociation",
        service="ec2",
        create="AssociateRouteTable",
        id="@AssociationId",
        key={"AssociationId": "{id}"},
        read="DescribeRouteTables",
        read_key={"Filters": [{"Name": "association.route-table-association-id", "Values": ["{id}"]}]},
        live="RouteTables[].Associations[] | [?RouteTableAssociationId=='{id}'] | [0]",
        delete="DisassociateRouteTable",
        name="",
        samples=(Sample("association", {"routeTableId": "$table.id", "subnetId": "$subnet.id"}),),
    ),
    by_id(
        "InternetGateway",
        "CreateInternetGateway",
        "@InternetGateway.InternetGatewayId",
        "DescribeInternetGateways",
        "InternetGatewayIds",
        "DeleteInternetGateway",
        "InternetGatewayId",
        tag_kind="internet-gateway",
        parts=(
            Part(
                "AttachInternetGateway",
                ("vpcId",),
                key={"InternetGatewayId": "{id}"},
                already="Resource.AlreadyAssociated",
            ),
        ),
        replaces=("vpcId",),
        outputs={"arn": arn("internet-gateway")},
        before_delete=lambda call, scope: (
            scope.get("vpcId")
            and call("DetachInternetGateway", {"InternetGatewayId": scope["id"], "VpcId": scope["vpcId"]})
        ),
        samples=(Sample("gateway", {"vpcId": "$vpc.id", "tags": OWNED}),),
    ),
    by_id(
        "NatGateway",
        "CreateNatGateway",
        "@NatGateway.NatGatewayId",
        "DescribeNatGateways",
        "NatGatewayIds",
        "DeleteNatGateway",
        "NatGatewayId",
        tag_kind="natgateway",
        gone="State=='deleted'",
        rename={"privateIp": "PrivateIpAddress"},
        outputs={
            "publicIp": "@NatGatewayAddresses[0].PublicIp",
            "privateIp": "@NatGatewayAddresses[0].PrivateIp",
            "networkInterfaceId": "@NatGatewayAddresses[0].NetworkInterfaceId",
        },
        samples=(Sample("nat", {"allocationId": "$eip.allocationId", "subnetId": "$subnet.id", "tags": OWNED}),),
    ),
    by_id(
        "Eip",
        "AllocateAddress",
        "@AllocationId",
        "DescribeAddresses",
        "AllocationIds",
        "ReleaseAddress",
        "AllocationId",
        live="Addresses[0]",
        tag_kind="elastic-ip",
        outputs={"arn": arn("elastic-ip"), "allocationId": "{id}"},
        samples=(Sample("eip", {"domain": "vpc", "tags": OWNED}),),
    ),
    by_id(
        "VpcEndpoint",
        "CreateVpcEndpoint",
        "@VpcEndpoint.VpcEndpointId",
        "DescribeVpcEndpoints",
        "VpcEndpointIds",
        "DeleteVpcEndpoints",
        "VpcEndpointId",
        delete_key={"VpcEndpointIds": ["{id}"]},
        gone="State=='deleted'",
        tag_kind="vpc-endpoint",
        rename={"policy": "PolicyDocument"},
        local=("autoAccept",),
        parts=(
            Part(
                "ModifyVpcEndpoint",
                ("subnetIds", "routeTableIds", "securityGroupIds", "policy", "privateDnsEnabled"),
                build=_endpoint_changes,
                update_only=True,
            ),
        ),
        outputs={
            "arn": arn("vpc-endpoint"),
            "dnsEntries": "@DnsEntries",
            "ownerId": "{account}",
            # moto's endpoints know no prefix list; security group rules take any id.
            "prefixListId": "@VpcEndpointType=='Gateway' && join('', ['pl-', VpcEndpointId]) || null",
        },
        samples=(
            Sample(
                "endpoint-s3",
                {
                    "vpcId": "$vpc.id",
                    "serviceName": "com.amazonaws.eu-west-1.s3",
                    "vpcEndpointType": "Gateway",
                    "routeTableIds": ["$table.id"],
                    "policy": ALLOW,
                    "tags": OWNED,
                },
            ),
            Sample(
                "endpoint-sts",
                {
                    "vpcId": "$vpc.id",
                    "serviceName": "com.amazonaws.eu-west-1.sts",
                    "vpcEndpointType": "Interface",
                    "subnetIds": ["$subnet.id"],
                    "securityGroupIds": ["$group.id"],
                    "privateDnsEnabled": True,
                },
                change={"subnetIds": ["$subnet.id", "$subnet-b.id"]},
            ),
        ),
    ),
    by_id(
        "FlowLog",
        "CreateFlowLogs",
        "@FlowLogIds[0]",
        "DescribeFlowLogs",
        "FlowLogIds",
        "DeleteFlowLogs",
        "FlowLogId",
        delete_key={"FlowLogIds": ["{id}"]},
        tag_kind="vpc-flow-log",
        rename={
            "vpcId": "ResourceIds",
            "subnetId": "ResourceIds",
            "eniId": "ResourceIds",
            "transitGatewayId": "ResourceIds",
            "iamRoleArn": "DeliverLogsPermissionArn",
            "destinationOptions.hiveCompatiblePartitions": "HiveCompatiblePartitions",
        },
        fixed={"ResourceType": "VPC"},
        outputs={"arn": arn("vpc-flow-log")},
        note="flow logs of VPCs",
        samples=(
            Sample(
                "flow",
                {
                    "vpcId": "$vpc.id",
                    "trafficType": "REJECT",
                    "logDestinationType": "cloud-watch-logs",
                    "logDestination": "$flow-group.arn",
                    "iamRoleArn": "$role.arn",
                    "maxAggregationInterval": 60,
                    "tags": OWNED,
                },
            ),
        ),
    ),
)


def _patch(_: QueueCall) -> None:
    """AWS manages a prefix list of Route 53's health checkers, which moto lacks."""
    from moto.ec2.models.managed_prefixes import ManagedPrefixListBackend

    patched: Any = ManagedPrefixListBackend
    ours = patched.create_default_pls

    def create_default_pls(backend: Any) -> None:
        ours(backend)
        backend._create_aws_managed_prefix_list(
            name=health_checkers.prefix_list(backend.region_name),
            address_family="IPv4",
            entries=[{"Cidr": cidr, "Description": "default"} for cidr in health_checkers.RANGES],
        )

    patched.create_default_pls = create_default_pls


SERVICE = Service("ec2", _ROWS, patch=_patch)
