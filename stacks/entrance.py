"""The way in: the standby gateway in the public cloud, and the name that moves between the two gateways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pulumi

from components.aws_documents import Statement
from components.base import StackContext
from components.burst.site import AzureSurroundings, BuiltSite
from components.cost_guard.aws import AwsCostGuard
from components.failover_dns.settings import Route53Settings, TrafficManagerSettings
from components.gateway.rights import cache_rights
from components.gateway.settings import MEGABYTE
from components.gateway.standby import StandbyGateway, StandbyGatewayArgs
from components.gateway.standby_peers import host_of_all
from spillway.contracts.names import KEYS_FOLDER
from spillway.contracts.routing import Listen, Peers, RoutingTable
from stacks.cluster import RUNTIME_DIR
from stacks.foundation import Foundation
from stacks.routing import envoy_yaml
from stacks.settings import StackSettings

if TYPE_CHECKING:
    from components.failover_dns.route53_zone import Route53Zone
    from components.gateway.kubernetes import KubernetesGateway


@dataclass(frozen=True)
class Entrance:
    """``host``: the name that clients use."""

    host: pulumi.Input[str]
    standby: StandbyGateway | None
    alarm_names: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)


def entrance(
    context: StackContext,
    settings: StackSettings,
    base: Foundation,
    gateway: KubernetesGateway,
    cost: AwsCostGuard,
    table: pulumi.Output[RoutingTable],
    built: Sequence[BuiltSite],
    certificate_arn: pulumi.Input[str] | None,
) -> Entrance:
    """Standby gateway and DNS over both gateways. ``certificate_arn``: as :func:`certificate` gives it."""
    standby = None
    if settings.gateway.standby.enabled:
        assert certificate_arn is not None, "a rule refuses a name that nobody can prove"
        standby = _standby(context, settings, base, cost, table, built, certificate_arn)
    match settings.dns:
        case Route53Settings() as dns:
            return _route53(context, settings, dns, gateway, cost, standby, base.zone)
        case TrafficManagerSettings() as dns:
            assert base.azure is not None
            return _traffic_manager(context, settings, dns, gateway, cost, standby, base.azure)


def _standby(
    context: StackContext,
    settings: StackSettings,
    base: Foundation,
    cost: AwsCostGuard,
    table: pulumi.Output[RoutingTable],
    built: Sequence[BuiltSite],
    certificate_arn: pulumi.Input[str],
) -> StandbyGateway:
    network = base.network
    counts = settings.gateway.standby
    # An update starts as many once more.
    peers = Peers(host=host_of_all(context.prefix), port=Listen().port, most=2 * counts.max_replicas)
    # Envoy and the agent share the task's memory.
    limits = settings.gateway.connections.limits(counts.memory * MEGABYTE // 2)
    changes = {"listen": Listen(), "connections": limits}
    own = table.apply(lambda found: found.standby(counts.min_replicas, peers).model_copy(update=changes))
    keys = {name: key for one in built for name, key in one.keys.items()}
    return StandbyGateway(
        context,
        StandbyGatewayArgs(
            settings=settings.gateway,
            mirror=base.mirror,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            exposure=settings.exposure,
            host=settings.dns.host,
            vpc_id=network.vpc_id,
            vpc_cidr=network.cidr,
            private_subnet_ids=network.private_subnet_ids,
            public_subnet_ids=network.public_subnet_ids,
            client_cidrs=settings.client_cidrs,
            logs_key_arn=network.logs_key_arn,
            envoy_yaml=own.apply(envoy_yaml),
            routing_json=own.apply(lambda found: found.model_dump_json()),
            endpoint_arns=[arn for one in built for arn in one.endpoint_arns],
            tokens=any(one.tokens for one in built),
            parameter_arns=cost.gateway_parameter_arns,
            gateway_rights=gateway_rights(settings, built),
            secrets_key_arn=network.credentials_key_arn,
            secret_files={f"{KEYS_FOLDER}/{name}": key for name, key in keys.items()},
            environment={name: value for one in built for name, value in one.gateway_environment.items()},
            certificate_arn=certificate_arn,
            answer_timeout_s=own.apply(lambda found: found.answer_timeout_s),
            runtime_dir=RUNTIME_DIR,
        ),
        opts=pulumi.ResourceOptions(depends_on=network.roads),
    )


def gateway_rights(settings: StackSettings, built: Sequence[BuiltSite]) -> list[pulumi.Input[Sequence[Statement]]]:
    """What a gateway may do in AWS beside asking the burst sites."""
    bucket = settings.gateway.cache.s3_bucket if settings.gateway.cache else None
    sites = [one.gateway_rights for one in built if one.gateway_rights]
    return [*sites, *cache_rights(settings.aws.region, bucket)]


def certificate(settings: StackSettings, base: Foundation) -> pulumi.Input[str] | None:
    """The gateways' in ACM: the given one, else the one that the foundation has asked for, once it is issued. To be
    asked once."""
    if given := settings.gateway.standby.certificate_arn:
        return given
    return base.certificate.issued() if base.certificate else None


def _route53(
    context: StackContext,
    settings: StackSettings,
    dns: Route53Settings,
    gateway: KubernetesGateway,
    cost: AwsCostGuard,
    standby: StandbyGateway | None,
    zone: Route53Zone | None,
) -> Entrance:
    if standby is None or zone is None:
        return Entrance(dns.host, standby)
    from components.failover_dns.route53 import Route53Failover, Route53FailoverArgs

    failover = Route53Failover(
        context,
        Route53FailoverArgs(
            settings=dns,
            region=settings.aws.region,
            zone_id=zone.zone_id,
            primary_address=gateway.address,
            primary_kind=gateway.address_kind,
            way_in=_way_in(settings),
            standby_dns_name=standby.dns_name,
            standby_zone_id=standby.zone_id,
            alarm_topic_arn=cost.topic_arn,
        ),
    )
    alarms = {"heartbeat": failover.alarm_name}
    if failover.way_in_check_id is not None:
        from components.failover_dns.way_in_alarm import WayInAlarm, WayInAlarmArgs

        told = WayInAlarm(
            context,
            WayInAlarmArgs(
                region=settings.aws.region,
                account_id=settings.aws.account_id,
                check_id=failover.way_in_check_id,
                topic_arn=cost.topic_arn,
                notify_emails=settings.cost_guard.notify_emails,
            ),
        )
        alarms["way-in"] = told.alarm_name
    return Entrance(failover.host, standby, alarms)


def _way_in(settings: StackSettings) -> Literal["HTTPS", "HTTP"] | None:
    """How the private gateway is asked from the Internet, where it is open to it."""
    if settings.exposure != "public":
        return None
    return "HTTPS" if settings.gateway.tls else "HTTP"


def _traffic_manager(
    context: StackContext,
    settings: StackSettings,
    dns: TrafficManagerSettings,
    gateway: KubernetesGateway,
    cost: AwsCostGuard,
    standby: StandbyGateway | None,
    azure: AzureSurroundings,
) -> Entrance:
    from components.failover_dns.traffic_manager import TrafficManager, TrafficManagerArgs

    assert settings.azure is not None
    manager = TrafficManager(
        context,
        TrafficManagerArgs(
            settings=dns,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            subscription_id=settings.azure.subscription_id,
            resource_group_name=azure.resource_group_name,
            primary_address=gateway.address,
            standby_dns_name=standby.dns_name if standby else None,
            alarm_topic_arn=cost.topic_arn,
            location=settings.azure.location,
            tenant_id=settings.azure.tenant_id,
        ),
    )
    return Entrance(manager.host, standby, {"heartbeat": manager.alarm_name})
