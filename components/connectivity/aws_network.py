"""The AWS network: a VPC over three zones whose private subnets reach every AWS API they need without the Internet."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.aws_documents import assumed_by, key_for_log_groups, key_policy, partition, policy
from components.aws_parts import own_key
from components.base import Component, StackContext
from components.connectivity.settings import ConnectivitySettings

ZONES = 3


@dataclass(frozen=True)
class AwsNetworkArgs:
    """``exposure``: whether clients come from the Internet; it and NAT decide whether there are public subnets.
    ``zones``: names of three availability zones."""

    settings: ConnectivitySettings
    region: str
    account_id: str
    exposure: Literal["internal", "public"]
    zones: tuple[str, ...]


class AwsNetwork(Component):
    """Outputs: ``vpc_id``, ``cidr``, ``private_subnet_ids``, ``public_subnet_ids`` (empty when internal and without
    NAT), ``private_route_table_ids``, ``endpoint_security_group_id``, ``s3_prefix_list_id``,
    ``logs_key_arn`` (encrypts the log groups ``/spillway/<prefix>/*`` and ``/aws/*/<prefix>*``),
    ``credentials_key_arn`` (encrypts what Secrets Manager holds for the stack), ``roads`` (the private subnets' ways to
    AWS' APIs: who calls them from there depends on these, and is gone before them)."""

    def __init__(self, context: StackContext, args: AwsNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("connectivity", context, opts)
        self.args = args
        self.cidr = args.settings.vpc_cidr
        self.zones = args.zones
        self.vpc = aws.ec2.Vpc(
            f"{context.prefix}-vpc",
            cidr_block=self.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags("vpc"),
            opts=self.child(),
        )
        self.vpc_id = self.vpc.id
        aws.ec2.DefaultSecurityGroup(
            f"{context.prefix}-default-closed", vpc_id=self.vpc.id, tags=self._tags("default-closed"), opts=self.child()
        )
        self.logs_key_arn = self._logs_key()
        self.credentials_key_arn = self._credentials_key()
        self._flow_logs()

        with_public = args.exposure == "public" or args.settings.nat != "none"
        private_cidrs, public_cidrs = subnet_cidrs(self.cidr)
        public = self._public_subnets(public_cidrs) if with_public else []
        nats = self._nat_gateways(public)
        self.roads: list[pulumi.Resource] = []
        private, tables = self._private_subnets(private_cidrs, nats)
        self.private_subnet_ids = [subnet.id for subnet in private]
        self.public_subnet_ids = [subnet.id for subnet in public]
        self.private_route_table_ids = [table.id for table in tables]
        self.endpoint_security_group_id = self._endpoints()
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "private_subnet_ids": self.private_subnet_ids,
                "public_subnet_ids": self.public_subnet_ids,
                "endpoint_security_group_id": self.endpoint_security_group_id,
            }
        )

    def _tags(self, name: str, **more: str) -> dict[str, str]:
        return {**self.context.tags, "Name": f"{self.context.prefix}-{name}", **more}

    def _logs_key(self) -> pulumi.Output[str]:
        prefix, args = self.context.prefix, self.args
        names = [f"/spillway/{prefix}/*", f"/aws/*/{prefix}*", f"aws-waf-logs-{prefix}*"]
        uses = key_for_log_groups(args.region, args.account_id, names)
        document = key_policy(args.region, args.account_id, uses)
        return own_key(self, f"{prefix}-logs", f"Log groups of {prefix}", document, holds_data=False).arn

    def _credentials_key(self) -> pulumi.Output[str]:
        """Whoever reads a credential needs this key too, and each use of it is logged."""
        prefix, args = self.context.prefix, self.args
        document = key_policy(args.region, args.account_id)
        description = f"Credentials of {prefix} in Secrets Manager"
        return own_key(self, f"{prefix}-credentials", description, document, holds_data=False).arn

    def _flow_logs(self) -> None:
        prefix = self.context.prefix
        group = aws.cloudwatch.LogGroup(
            f"{prefix}-flow-logs",
            name=f"/spillway/{prefix}/flow-logs",
            kms_key_id=self.logs_key_arn,
            retention_in_days=self.args.settings.flow_log_retention_days,
            tags=self.context.tags,
            opts=self.child(),
        )
        role = aws.iam.Role(
            f"{prefix}-flow-logs-role",
            description="Lets VPC flow logs write to their log group",
            assume_role_policy=assumed_by("vpc-flow-logs.amazonaws.com", self.args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )
        write = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
        aws.iam.RolePolicy(
            f"{prefix}-flow-logs-policy",
            role=role.name,
            policy=group.arn.apply(
                lambda arn: policy(
                    {"Effect": "Allow", "Action": write, "Resource": [arn, f"{arn}:*"]},
                    # An action for no resource: naming one would allow nothing.
                    {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": "*"},
                )
            ),
            opts=self.child(),
        )
        aws.ec2.FlowLog(
            f"{prefix}-vpc-flow-log",
            vpc_id=self.vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
            tags=self._tags("vpc"),
            opts=self.child(),
        )

    def _public_subnets(self, cidrs: list[str]) -> list[aws.ec2.Subnet]:
        prefix = self.context.prefix
        self.internet_gateway = aws.ec2.InternetGateway(
            f"{prefix}-internet", vpc_id=self.vpc.id, tags=self._tags("internet"), opts=self.child()
        )
        table = aws.ec2.RouteTable(f"{prefix}-public", vpc_id=self.vpc.id, tags=self._tags("public"), opts=self.child())
        aws.ec2.Route(
            f"{prefix}-public-default",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=self.internet_gateway.id,
            opts=self.child(),
        )
        subnets = []
        for zone, cidr in zip(self.zones, cidrs, strict=True):
            subnet = aws.ec2.Subnet(
                f"{prefix}-public-{zone}",
                vpc_id=self.vpc.id,
                availability_zone=zone,
                cidr_block=cidr,
                map_public_ip_on_launch=False,
                tags=self._tags(f"public-{zone}", **{"kubernetes.io/role/elb": "1"}),
                opts=self.child(),
            )
            aws.ec2.RouteTableAssociation(
                f"{prefix}-public-{zone}", subnet_id=subnet.id, route_table_id=table.id, opts=self.child()
            )
            subnets.append(subnet)
        return subnets

    def _nat_gateways(self, public: list[aws.ec2.Subnet]) -> list[aws.ec2.NatGateway]:
        """None, one, or one a zone."""
        count = {"none": 0, "single": 1, "per_zone": ZONES}[self.args.settings.nat]
        gateways = []
        for zone, subnet in list(zip(self.zones, public, strict=False))[:count]:
            address = aws.ec2.Eip(
                f"{self.context.prefix}-nat-{zone}", domain="vpc", tags=self._tags(f"nat-{zone}"), opts=self.child()
            )
            gateways.append(
                aws.ec2.NatGateway(
                    f"{self.context.prefix}-nat-{zone}",
                    allocation_id=address.allocation_id,
                    subnet_id=subnet.id,
                    connectivity_type="public",
                    tags=self._tags(f"nat-{zone}"),
                    opts=self.child(depends_on=[self.internet_gateway]),
                )
            )
        return gateways

    def _private_subnets(
        self, cidrs: list[str], nats: list[aws.ec2.NatGateway]
    ) -> tuple[list[aws.ec2.Subnet], list[aws.ec2.RouteTable]]:
        prefix = self.context.prefix
        subnets, tables = [], []
        for index, (zone, cidr) in enumerate(zip(self.zones, cidrs, strict=True)):
            subnet = aws.ec2.Subnet(
                f"{prefix}-private-{zone}",
                vpc_id=self.vpc.id,
                availability_zone=zone,
                cidr_block=cidr,
                map_public_ip_on_launch=False,
                tags=self._tags(f"private-{zone}", **{"kubernetes.io/role/internal-elb": "1"}),
                opts=self.child(),
            )
            table = aws.ec2.RouteTable(
                f"{prefix}-private-{zone}", vpc_id=self.vpc.id, tags=self._tags(f"private-{zone}"), opts=self.child()
            )
            self.roads.append(
                aws.ec2.RouteTableAssociation(
                    f"{prefix}-private-{zone}", subnet_id=subnet.id, route_table_id=table.id, opts=self.child()
                )
            )
            if nats:
                self.roads.append(
                    aws.ec2.Route(
                        f"{prefix}-private-{zone}-default",
                        route_table_id=table.id,
                        destination_cidr_block="0.0.0.0/0",
                        nat_gateway_id=nats[min(index, len(nats) - 1)].id,
                        opts=self.child(),
                    )
                )
            subnets.append(subnet)
            tables.append(table)
        return subnets, tables

    def _endpoints(self) -> pulumi.Output[str]:
        prefix, args = self.context.prefix, self.args
        vpn = args.settings.vpn
        group = aws.ec2.SecurityGroup(
            f"{prefix}-endpoints",
            description="HTTPS to the interface endpoints, from inside the networks",
            vpc_id=self.vpc.id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp",
                    from_port=443,
                    to_port=443,
                    cidr_blocks=[self.cidr, *(vpn.peer_cidrs if vpn else ())],
                    description="HTTPS",
                )
            ],
            tags=self._tags("endpoints"),
            opts=self.child(),
        )
        gateway = aws.ec2.VpcEndpoint(
            f"{prefix}-s3",
            vpc_id=self.vpc.id,
            vpc_endpoint_type="Gateway",
            service_name=f"com.amazonaws.{args.region}.s3",
            route_table_ids=self.private_route_table_ids,
            policy=_s3_policy(args.region, args.account_id),
            tags=self._tags("s3"),
            opts=self.child(),
        )
        self.s3_prefix_list_id = gateway.prefix_list_id
        self.roads.append(gateway)
        for service in args.settings.interface_endpoints:
            name = service.replace(".", "-")
            endpoint = aws.ec2.VpcEndpoint(
                f"{prefix}-{name}",
                vpc_id=self.vpc.id,
                vpc_endpoint_type="Interface",
                service_name=f"com.amazonaws.{args.region}.{service}",
                private_dns_enabled=True,
                subnet_ids=self.private_subnet_ids,
                security_group_ids=[group.id],
                policy=_endpoint_policy(service, args.region, args.account_id),
                tags=self._tags(name),
                opts=self.child(),
            )
            self.roads.append(endpoint)
        return group.id


def subnet_cidrs(vpc_cidr: str) -> tuple[list[str], list[str]]:
    """Private and public subnets, one of each a zone: sixteenths of the network for nodes and pods, and three of the
    last sixteenth's sixteenths for load balancers and NAT."""
    sixteenths = list(IPv4Network(vpc_cidr).subnets(prefixlen_diff=4))
    return (
        [str(cidr) for cidr in sixteenths[:ZONES]],
        [str(cidr) for cidr in list(sixteenths[-1].subnets(prefixlen_diff=4))[:ZONES]],
    )


def _own_principals(account_id: str) -> dict[str, object]:
    return {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "*",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalAccount": account_id}},
    }


def _endpoint_policy(service: str, region: str, account_id: str) -> str:
    """Only this account's principals pass, so that nobody carries data to an account of their own."""
    statements = [_own_principals(account_id)]
    if service == "sts":
        # A caller with a web identity token is nobody's principal yet: bound by the role instead.
        statements.append(
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Resource": f"arn:{partition(region)}:iam::{account_id}:role/*",
            }
        )
    return policy(*statements)


def _s3_policy(region: str, account_id: str) -> str:
    """This account's principals, and reading what AWS and public registries keep in S3 of this region.

    ECR's layers, Amazon Linux packages, and the layers of registry.k8s.io (its archeio redirects clients in AWS to
    these: kubernetes/registry.k8s.io, cmd/archeio), Docker Hub and Quay, which are asked for without an identity.
    """
    arn = f"arn:{partition(region)}:s3:::"
    buckets = [
        f"prod-{region}-starport-layer-bucket",
        f"al2023-repos-{region}-de612dc2",
        f"prod-registry-k8s-io-{region}",
        "docker-images-prod",
        "quayio-production-s3",
    ]
    return policy(
        _own_principals(account_id),
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": [f"{arn}{bucket}/*" for bucket in buckets],
        },
    )
