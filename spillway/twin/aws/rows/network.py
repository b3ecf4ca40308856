"""EC2 networking: VPCs and what is in them, VPN connections, launch templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags

TAGS = Tags("CreateTags", "DeleteTags", {"Resources": ["{id}"]}, keys="Tags")


def _ec2(token: str, create: str, id_: str, read: str, ids: str, delete: str, delete_by: str, **more: Any) -> Row:
    """A row for a thing that ``Describe...s`` finds by its id."""
    live = more.pop("live", f"{ids.removesuffix('Ids')}s[0]")
    return Row(
        token=f"aws:ec2/{token[0].lower()}{token[1:]}:{token}",
        service="ec2",
        create=create,
        id=id_,
        read=read,
        read_key={ids: ["{id}"]},
        live=live,
        delete=delete,
        key={delete_by: "{id}"},
        name=more.pop("name", ""),
        tags=TAGS,
        **more,
    )


def _arn(kind: str) -> str:
    return f"arn:{{partition}}:ec2:{{region}}:{{account}}:{kind}/{{id}}"


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


def _permission(rule: Mapping[str, Any], group: str) -> dict[str, Any]:
    protocol = str(rule.get("protocol", rule.get("ipProtocol", "-1")))
    permission: dict[str, Any] = {"IpProtocol": "-1" if protocol == "all" else protocol}
    if permission["IpProtocol"] != "-1":
        permission |= {"FromPort": rule.get("fromPort"), "ToPort": rule.get("toPort")}
    about = {"Description": rule["description"]} if rule.get("description") else {}
    permission["IpRanges"] = [{"CidrIp": cidr, **about} for cidr in rule.get("cidrBlocks") or []]
    permission["Ipv6Ranges"] = [{"CidrIpv6": cidr, **about} for cidr in rule.get("ipv6CidrBlocks") or []]
    permission["PrefixListIds"] = [{"PrefixListId": prefix, **about} for prefix in rule.get("prefixListIds") or []]
    groups = [*(rule.get("securityGroups") or []), *([group] if rule.get("self") else [])]
    permission["UserIdGroupPairs"] = [{"GroupId": other, **about} for other in groups]
    return {key: value for key, value in permission.items() if value not in (None, [])}


def _rules(direction: str, since: bool) -> Any:
    """Rules to authorise (``since``: those that are new) or, the other way round, to revoke."""

    def build(scope: Scope) -> list[dict[str, Any]]:
        old, new = scope.get("old", {}).get(direction) or [], scope.get(direction) or []
        rules = [r for r in new if r not in old] if since else [r for r in old if r not in new]
        return [{"GroupId": scope["id"], "IpPermissions": [_permission(rule, scope["id"])]} for rule in rules]

    return build


def _default_egress(scope: Scope) -> list[dict[str, Any]]:
    """The provider takes away the rule that AWS gives each new group."""
    everywhere = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    return [{"GroupId": scope["id"], "IpPermissions": [everywhere]}]


def _group_rule(scope: Scope) -> list[dict[str, Any]]:
    """One rule of the ``vpc`` module, as a permission."""
    about = {"Description": scope["description"]} if scope.get("description") else {}
    permission: dict[str, Any] = {"IpProtocol": str(scope["ipProtocol"])}
    if permission["IpProtocol"] != "-1":
        permission |= {"FromPort": scope.get("fromPort", -1), "ToPort": scope.get("toPort", -1)}
    if scope.get("cidrIpv4"):
        permission["IpRanges"] = [{"CidrIp": scope["cidrIpv4"], **about}]
    if scope.get("cidrIpv6"):
        permission["Ipv6Ranges"] = [{"CidrIpv6": scope["cidrIpv6"], **about}]
    if scope.get("prefixListId"):
        permission["PrefixListIds"] = [{"PrefixListId": scope["prefixListId"], **about}]
    if scope.get("referencedSecurityGroupId"):
        permission["UserIdGroupPairs"] = [{"GroupId": scope["referencedSecurityGroupId"], **about}]
    params: dict[str, Any] = {"GroupId": scope["securityGroupId"], "IpPermissions": [permission]}
    if scope["tags"]:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(scope["tags"].items())]
        params["TagSpecifications"] = [{"ResourceType": "security-group-rule", "Tags": pairs}]
    return [params]


def _standalone_rule(direction: str) -> Row:
    return Row(
        token=f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule",
        service="ec2",
        create=f"AuthorizeSecurityGroup{direction}",
        build=_group_rule,
        id="@SecurityGroupRules[0].SecurityGroupRuleId",
        read="DescribeSecurityGroupRules",
        read_key={"SecurityGroupRuleIds": ["{id}"]},
        live="SecurityGroupRules[0]",
        delete=f"RevokeSecurityGroup{direction}",
        key={"GroupId": "{securityGroupId}", "SecurityGroupRuleIds": ["{id}"]},
        name="",
        tags=TAGS,
        outputs={"arn": _arn("security-group-rule"), "securityGroupRuleId": "{id}"},
    )


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


_TEMPLATE_DATA = [
    "blockDeviceMappings",
    "capacityReservationSpecification",
    "cpuOptions",
    "creditSpecification",
    "disableApiStop",
    "disableApiTermination",
    "ebsOptimized",
    "enclaveOptions",
    "hibernationOptions",
    "iamInstanceProfile",
    "imageId",
    "instanceInitiatedShutdownBehavior",
    "instanceMarketOptions",
    "instanceRequirements",
    "instanceType",
    "kernelId",
    "keyName",
    "licenseSpecifications",
    "maintenanceOptions",
    "metadataOptions",
    "monitoring",
    "networkInterfaces",
    "placement",
    "privateDnsNameOptions",
    "ramDiskId",
    "securityGroupNames",
    "tagSpecifications",
    "userData",
    "vpcSecurityGroupIds",
]
_TEMPLATE_RENAME = {name: f"LaunchTemplateData.{name[0].upper()}{name[1:]}" for name in _TEMPLATE_DATA} | {
    "vpcSecurityGroupIds": "LaunchTemplateData.SecurityGroupIds",
    "securityGroupNames": "LaunchTemplateData.SecurityGroups",
    "networkInterfaces.securityGroups": "Groups",
    "networkInterfaces.ipv4Addresses": "PrivateIpAddresses",
    "description": "VersionDescription",
}


def _template_default(scope: Scope) -> list[dict[str, Any]]:
    if not scope.get("updateDefaultVersion"):
        return []
    found = scope["call"]("DescribeLaunchTemplates", {"LaunchTemplateIds": [scope["id"]]})["LaunchTemplates"][0]
    return [{"LaunchTemplateId": scope["id"], "DefaultVersion": str(found["LatestVersionNumber"])}]


_GONE, _THERE = "InvalidPermission.NotFound", "InvalidPermission.Duplicate"
_RULE_PARTS = (
    Part("RevokeSecurityGroupEgress", ("@create",), build=_default_egress, already=_GONE),
    Part("RevokeSecurityGroupIngress", ("ingress",), build=_rules("ingress", since=False), already=_GONE),
    Part("RevokeSecurityGroupEgress", ("egress",), build=_rules("egress", since=False), already=_GONE),
    Part("AuthorizeSecurityGroupIngress", ("ingress",), build=_rules("ingress", since=True), already=_THERE),
    Part("AuthorizeSecurityGroupEgress", ("egress",), build=_rules("egress", since=True), already=_THERE),
)

ROWS = (
    _ec2(
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
        outputs={"arn": _arn("vpc")},
        note="network address usage metrics are only recorded",
    ),
    _ec2(
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
    ),
    _ec2(
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
        outputs={"arn": _arn("route-table")},
        note="propagating gateways are only recorded",
    ),
    _ec2(
        "Instance",
        "RunInstances",
        "@Instances[0].InstanceId",
        "DescribeInstances",
        "InstanceIds",
        "TerminateInstances",
        "InstanceId",
        delete_key={"InstanceIds": ["{id}"]},
        live="Reservations[0].Instances[0]",
        gone="State.Name=='terminated' || State.Name=='shutting-down'",
        tag_kind="instance",
        fixed={"MinCount": 1, "MaxCount": 1},
        rename={
            "ami": "ImageId",
            "vpcSecurityGroupIds": "SecurityGroupIds",
            "launchTemplate.id": "LaunchTemplateId",
            "launchTemplate.name": "LaunchTemplateName",
            "availabilityZone": "Placement.AvailabilityZone",
            "tenancy": "Placement.Tenancy",
            "monitoring": "Monitoring.Enabled",
            "iamInstanceProfile": "IamInstanceProfile.Name",
        },
        local=(
            "volumeTags",
            "userDataReplaceOnChange",
            "forceDestroy",
            "getPasswordData",
            "rootBlockDevice",
            "sourceDestCheck",
        ),
        outputs={"arn": _arn("instance"), "privateIp": "@PrivateIpAddress", "instanceState": "@State.Name"},
        note="no machine starts; the root device and volume tags are only recorded",
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
    ),
    _ec2(
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
        outputs={"arn": _arn("internet-gateway")},
        before_delete=lambda call, scope: (
            scope.get("vpcId")
            and call("DetachInternetGateway", {"InternetGatewayId": scope["id"], "VpcId": scope["vpcId"]})
        ),
    ),
    _ec2(
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
    ),
    _ec2(
        "Eip",
        "AllocateAddress",
        "@AllocationId",
        "DescribeAddresses",
        "AllocationIds",
        "ReleaseAddress",
        "AllocationId",
        live="Addresses[0]",
        tag_kind="elastic-ip",
        outputs={"arn": _arn("elastic-ip"), "allocationId": "{id}"},
    ),
    _ec2(
        "SecurityGroup",
        "CreateSecurityGroup",
        "@GroupId",
        "DescribeSecurityGroups",
        "GroupIds",
        "DeleteSecurityGroup",
        "GroupId",
        live="SecurityGroups[0]",
        tag_kind="security-group",
        name="name",
        rename={"name": "GroupName"},
        defaults={"description": "Managed by Pulumi"},
        local=("revokeRulesOnDelete",),
        parts=_RULE_PARTS,
        outputs={"arn": _arn("security-group"), "ownerId": "{account}"},
    ),
    Row(
        token="aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        service="ec2",
        create="DescribeSecurityGroups",
        build=lambda scope: [
            {
                "Filters": [
                    {"Name": "vpc-id", "Values": [scope["vpcId"]]},
                    {"Name": "group-name", "Values": ["default"]},
                ]
            }
        ],
        id="@SecurityGroups[0].GroupId",
        key={"GroupIds": ["{id}"]},
        read="DescribeSecurityGroups",
        live="SecurityGroups[0]",
        local=("revokeRulesOnDelete",),
        parts=_RULE_PARTS,
        name="",
        outputs={"arn": _arn("security-group"), "ownerId": "{account}"},
        tags=TAGS,
        note="takes over the group that the VPC came with; deleting leaves it to the VPC",
    ),
    _standalone_rule("Ingress"),
    _standalone_rule("Egress"),
    _ec2(
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
            "arn": _arn("vpc-endpoint"),
            "dnsEntries": "@DnsEntries",
            "ownerId": "{account}",
            # moto's endpoints know no prefix list; security group rules take any id.
            "prefixListId": "@VpcEndpointType=='Gateway' && join('', ['pl-', VpcEndpointId]) || null",
        },
    ),
    _ec2(
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
        outputs={"arn": _arn("vpc-flow-log")},
        note="flow logs of VPCs",
    ),
    _ec2(
        "LaunchTemplate",
        "CreateLaunchTemplate",
        "@LaunchTemplate.LaunchTemplateId",
        "DescribeLaunchTemplates",
        "LaunchTemplateIds",
        "DeleteLaunchTemplate",
        "LaunchTemplateId",
        tag_kind="launch-template",
        name="name",
        rename={**_TEMPLATE_RENAME, "name": "LaunchTemplateName"},
        local=("updateDefaultVersion", "defaultVersion"),
        parts=(
            Part("CreateLaunchTemplateVersion", (*_TEMPLATE_DATA, "description"), update_only=True),
            Part("ModifyLaunchTemplate", (*_TEMPLATE_DATA, "description"), build=_template_default, update_only=True),
        ),
        outputs={
            "arn": _arn("launch-template"),
            "latestVersion": "@LatestVersionNumber",
            "defaultVersion": "@DefaultVersionNumber",
        },
    ),
    _ec2(
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
        outputs={"arn": _arn("customer-gateway")},
    ),
    _ec2(
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
        outputs={"arn": _arn("vpn-gateway")},
        before_delete=lambda call, scope: (
            scope.get("vpcId") and call("DetachVpnGateway", {"VpnGatewayId": scope["id"], "VpcId": scope["vpcId"]})
        ),
    ),
    _ec2(
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
            "arn": _arn("vpn-connection"),
            "tunnel1Address": "@Options.TunnelOptions[0].OutsideIpAddress",
            "tunnel2Address": "@Options.TunnelOptions[1].OutsideIpAddress",
        },
        note="tunnel options are only recorded; no tunnel exists",
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
    ),
)
