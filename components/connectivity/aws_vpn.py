"""The site-to-site VPN to the private site, and a resolver that answers the VPC's private names there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, StackContext
from components.connectivity.settings import VpnSettings
from components.retention import RetentionDays

LARGEST_SHORT_ASN = 2_147_483_647
"""AWS takes larger ones in a field of their own."""


@dataclass(frozen=True)
class AwsVpnArgs:
    """``pre_shared_key``: a secret. ``private_route_table_ids``: those that learn the peer's networks by BGP."""

    settings: VpnSettings
    vpc_id: pulumi.Input[str]
    private_subnet_ids: Sequence[pulumi.Input[str]]
    private_route_table_ids: Sequence[pulumi.Input[str]]
    pre_shared_key: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    alarm_topic_arn: pulumi.Input[str]
    log_retention_days: RetentionDays = 90


class AwsVpn(Component):
    """Outputs: ``vpn_connection_id``, ``tunnel_addresses`` (both, public), ``resolver_endpoint_id`` and
    ``resolver_addresses`` (where the private site forwards AWS names to, for the interface endpoints)."""

    def __init__(self, context: StackContext, args: AwsVpnArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("connectivity-vpn", context, opts)
        self.args = args
        gateway = self._vpn_gateway()
        connection = self._connection(gateway)
        self._tunnel_alarms(connection)
        resolver = self._resolver()
        self.vpn_connection_id = connection.id
        self.tunnel_addresses = [connection.tunnel1_address, connection.tunnel2_address]
        self.resolver_endpoint_id = resolver.id
        self.resolver_addresses = resolver.ip_addresses.apply(lambda found: [address.ip for address in found])
        self.register_outputs({"vpn_connection_id": self.vpn_connection_id, "tunnel_addresses": self.tunnel_addresses})

    def _tags(self, name: str) -> dict[str, str]:
        return {**self.context.tags, "Name": f"{self.context.prefix}-{name}"}

    def _vpn_gateway(self) -> aws.ec2.VpnGateway:
        prefix, args = self.context.prefix, self.args
        gateway = aws.ec2.VpnGateway(
            f"{prefix}-vpn",
            vpc_id=args.vpc_id,
            amazon_side_asn=str(args.settings.aws_asn),
            tags=self._tags("vpn"),
            opts=self.child(),
        )
        for index, table_id in enumerate(args.private_route_table_ids):
            aws.ec2.VpnGatewayRoutePropagation(
                f"{prefix}-vpn-{index}", vpn_gateway_id=gateway.id, route_table_id=table_id, opts=self.child()
            )
        return gateway

    def _connection(self, gateway: aws.ec2.VpnGateway) -> aws.ec2.VpnConnection:
        prefix, args = self.context.prefix, self.args
        asn = str(args.settings.peer_asn)
        is_short = args.settings.peer_asn <= LARGEST_SHORT_ASN
        peer = aws.ec2.CustomerGateway(
            f"{prefix}-private-site",
            type="ipsec.1",
            ip_address=args.settings.peer_address,
            bgp_asn=asn if is_short else None,
            bgp_asn_extended=None if is_short else asn,
            tags=self._tags("private-site"),
            opts=self.child(),
        )
        logs = aws.cloudwatch.LogGroup(
            f"{prefix}-vpn-logs",
            name=f"/spillway/{prefix}/vpn",
            kms_key_id=args.logs_key_arn,
            retention_in_days=args.log_retention_days,
            tags=self.context.tags,
            opts=self.child(),
        )
        key = pulumi.Output.secret(args.pre_shared_key)
        return aws.ec2.VpnConnection(
            f"{prefix}-vpn",
            type="ipsec.1",
            vpn_gateway_id=gateway.id,
            customer_gateway_id=peer.id,
            static_routes_only=False,
            tunnel1_preshared_key=key,
            tunnel1_ike_versions=["ikev2"],
            tunnel1_phase1_encryption_algorithms=["AES256-GCM-16"],
            tunnel1_phase1_integrity_algorithms=["SHA2-384"],
            tunnel1_phase1_dh_group_numbers=[20],
            tunnel1_phase2_encryption_algorithms=["AES256-GCM-16"],
            tunnel1_phase2_integrity_algorithms=["SHA2-384"],
            tunnel1_phase2_dh_group_numbers=[20],
            tunnel1_dpd_timeout_action="restart",
            tunnel1_startup_action="start",
            tunnel1_log_options=aws.ec2.VpnConnectionTunnel1LogOptionsArgs(
                cloudwatch_log_options=aws.ec2.VpnConnectionTunnel1LogOptionsCloudwatchLogOptionsArgs(
                    log_enabled=True, log_group_arn=logs.arn, log_output_format="json"
                )
            ),
            tunnel2_preshared_key=key,
            tunnel2_ike_versions=["ikev2"],
            tunnel2_phase1_encryption_algorithms=["AES256-GCM-16"],
            tunnel2_phase1_integrity_algorithms=["SHA2-384"],
            tunnel2_phase1_dh_group_numbers=[20],
            tunnel2_phase2_encryption_algorithms=["AES256-GCM-16"],
            tunnel2_phase2_integrity_algorithms=["SHA2-384"],
            tunnel2_phase2_dh_group_numbers=[20],
            tunnel2_dpd_timeout_action="restart",
            tunnel2_startup_action="start",
            tunnel2_log_options=aws.ec2.VpnConnectionTunnel2LogOptionsArgs(
                cloudwatch_log_options=aws.ec2.VpnConnectionTunnel2LogOptionsCloudwatchLogOptionsArgs(
                    log_enabled=True, log_group_arn=logs.arn, log_output_format="json"
                )
            ),
            tags=self._tags("vpn"),
            opts=self.child(additional_secret_outputs=["customerGatewayConfiguration"]),
        )

    def _tunnel_alarms(self, connection: aws.ec2.VpnConnection) -> None:
        """One tunnel down is no spare left; both are no road. ``TunnelState`` is 0 or 1 of each
        (https://docs.aws.amazon.com/vpn/latest/s2svpn/monitoring-cloudwatch-vpn.html)."""
        for name, statistic, description in (
            ("vpn-down", "Maximum", "Both tunnels to the private site are down"),
            ("vpn-degraded", "Minimum", "One of the two tunnels to the private site is down"),
        ):
            aws.cloudwatch.MetricAlarm(
                f"{self.context.prefix}-{name}",
                name=f"{self.context.prefix}-{name}",
                alarm_description=description,
                namespace="AWS/VPN",
                metric_name="TunnelState",
                dimensions={"VpnId": connection.id},
                statistic=statistic,
                period=300,
                evaluation_periods=3,
                comparison_operator="LessThanThreshold",
                threshold=1,
                treat_missing_data="breaching",
                alarm_actions=[self.args.alarm_topic_arn],
                ok_actions=[self.args.alarm_topic_arn],
                tags=self.context.tags,
                opts=self.child(),
            )

    def _resolver(self) -> aws.route53.ResolverEndpoint:
        """Two zones are enough: the private site's resolver asks the other when one is silent."""
        prefix, args = self.context.prefix, self.args
        peers = list(args.settings.peer_cidrs)
        group = aws.ec2.SecurityGroup(
            f"{prefix}-resolver",
            description="DNS queries of the private site",
            vpc_id=args.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol=protocol, from_port=53, to_port=53, cidr_blocks=peers, description=f"DNS over {protocol}"
                )
                for protocol in ("tcp", "udp")
            ],
            tags=self._tags("resolver"),
            opts=self.child(),
        )
        return aws.route53.ResolverEndpoint(
            f"{prefix}-resolver",
            name=f"{prefix}-resolver",
            direction="INBOUND",
            security_group_ids=[group.id],
            ip_addresses=[
                aws.route53.ResolverEndpointIpAddressArgs(subnet_id=subnet_id)
                for subnet_id in args.private_subnet_ids[:2]
            ],
            tags=self._tags("resolver"),
            opts=self.child(),
        )
