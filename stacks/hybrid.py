"""One hybrid site: which components there are, and how they are wired. Everything follows from the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi

from components.base import StackContext
from components.burst.site import AzureSurroundings, BuiltSite, BurstSite, GatewayIdentity, Surroundings
from components.connectivity.aws_federation import AwsFederation, AwsFederationArgs
from components.connectivity.aws_network import AwsNetwork
from components.cost_guard.aws import AwsCostGuard, AwsCostGuardArgs
from components.monitoring.aws import AwsMonitoring, AwsMonitoringArgs
from components.private_cluster.settings import AksSettings, ExistingSettings
from spillway.contracts import names
from spillway.contracts.classes import SiteName
from spillway.contracts.function_config import PrivateMachines
from spillway.contracts.routing import RoutingTable, hash_key
from stacks.cluster import private_site
from stacks.entrance import Entrance, certificate, entrance, gateway_rights
from stacks.foundation import Foundation, foundation
from stacks.package import Package
from stacks.placement import gpus_of_a_server
from stacks.pricing import price_per_hour, private_capacity
from stacks.routing import DeployedNames, routing_table
from stacks.settings import StackSettings

if TYPE_CHECKING:
    from components.gateway.kubernetes import Tls


def compose(
    settings: StackSettings,
    stack: str,
    package: Package,
    secrets: Mapping[str, pulumi.Output[str]],
    root: Path,
    sites: Sequence[BurstSite],
) -> dict[str, Any]:
    """Register the stage of the site that the settings name, and return the stack's outputs.

    ``secrets``: the stack's, by name; ``sites``: where overflow goes, in spill order.
    """
    base = foundation(settings, stack, package, secrets, root, sites)
    if settings.stage == "foundation":
        return base.outputs(settings)
    context, network, store, azure, cluster = base.context, base.network, base.store, base.azure, base.cluster
    around = Surroundings(
        context=context,
        manifest=package.manifest,
        contents={site.name: package.content(site.name, site.layout) for site in sites},
        aws_network=network,
        aws_store=store,
        azure=azure,
        connectivity=settings.connectivity,
        model_store=settings.model_store,
        cost_guard=settings.cost_guard,
        monitoring=settings.monitoring,
    )
    built = [site.build(around) for site in sites]
    context = _with_kubernetes(context, cluster.kubeconfig, cluster.context, cluster.ready)
    cost = _cost_guard(context, settings, built)
    federation = AwsFederation(
        context,
        AwsFederationArgs(
            settings=settings.connectivity.federation,
            endpoint_arns=[arn for site in built for arn in site.endpoint_arns],
            tokens=any(site.tokens for site in built),
            parameter_arns=cost.gateway_parameter_arns,
            gateway_rights=gateway_rights(settings, built),
            bucket_arn=store.bucket_arn,
            bucket_key_arn=store.kms_key_arn,
            topic_arn=cost.topic_arn,
            topic_key_arn=cost.kms_key_arn,
            certificate_zone_id=_proving_zone(settings, base),
            region=settings.aws.region,
            oidc_provider_arn=cluster.oidc_provider_arn,
            oidc_issuer_url=cluster.oidc_issuer_url,
        ),
    )
    table = _table(context, settings, package, built, cost, secrets)
    proved = certificate(settings, base)
    tls = _tls(settings, proved, secrets)
    pull_secret = settings.connectivity.mirror.pull_secret
    gateway = private_site(
        context,
        settings,
        package,
        network,
        cluster,
        store,
        federation,
        table,
        built,
        tls,
        base.mirror,
        base.callers,
        _proving_zone(settings, base),
        pull_config=secrets[pull_secret] if pull_secret else None,
        topic_arn=cost.topic_arn,
    )
    way_in = entrance(context, settings, base, gateway, cost, table, built, proved)
    _admit(built, list(_gateways(context, settings, base, federation, way_in)))
    monitoring = AwsMonitoring(
        context,
        AwsMonitoringArgs(
            settings=settings.monitoring,
            region=settings.aws.region,
            topic_arn=cost.topic_arn,
            sites=[site.name for site in sites],
            alarms=[alarm for one in built for alarm in one.watch.alarms],
            graphs=[graph for one in built for graph in one.watch.graphs],
            load_balancer=way_in.standby.arn_suffix if way_in.standby else None,
            target_group=way_in.standby.target_group_arn_suffix if way_in.standby else None,
            standby_tasks=settings.gateway.standby.min_replicas,
            certificate_arn=proved,
            gateway_certificate=settings.gateway.tls is not None and not settings.gateway.tls.acm,
        ),
    )
    _azure_budget(context, settings, azure, built)
    _outside_network(context, settings, network, azure, built, secrets, cost.topic_arn)
    of_sites = {name: alarm for one in built for name, alarm in one.watch.alarm_names.items()}
    return {
        **base.outputs(settings),
        "gateways": {"private": gateway.address, "standby": way_in.standby.dns_name if way_in.standby else None},
        "dns_name": way_in.host,
        "endpoints": {name: value for one in built for name, value in one.outputs.items()},
        "dashboards": {"aws": monitoring.dashboard_url, "azure": _azure_dashboard(built)},
        "alarms": {**cost.alarm_names, **monitoring.alarm_names, **of_sites, **way_in.alarm_names},
        "cutoff_parameter": cost.parameter_name,
        "package": {"name": package.manifest.name, "version": package.manifest.version},
        "price_per_hour": price_per_hour(settings, sites),
    }


def _tls(
    settings: StackSettings, proved: pulumi.Input[str] | None, secrets: Mapping[str, pulumi.Output[str]]
) -> Tls | None:
    """The private gateway's certificate, from where the settings say."""
    from components.gateway.kubernetes import Tls

    match settings.gateway.tls:
        case None:
            return None
        case chosen if chosen.cert_manager:
            # Made in the cluster, beside what uses it.
            return None
        case chosen if chosen.acm:
            return Tls(certificate_arn=proved)
        case chosen if chosen.certificate_secret and chosen.key_secret:
            return Tls(pem=(secrets[chosen.certificate_secret], secrets[chosen.key_secret]))
        case chosen:
            return Tls(secret_name=chosen.kubernetes_secret)


def _proving_zone(settings: StackSettings, base: Foundation) -> pulumi.Input[str] | None:
    """Where cert-manager proves the name, if it is to."""
    by_acme = settings.gateway.tls is not None and settings.gateway.tls.cert_manager is not None
    return base.zone.certificate_zone_id if by_acme and base.zone else None


def _with_kubernetes(
    context: StackContext, kubeconfig: pulumi.Input[str], name: str | None, ready: Sequence[pulumi.Resource]
) -> StackContext:
    import pulumi_kubernetes as k8s

    provider = k8s.Provider(
        f"{context.prefix}-kubernetes",
        kubeconfig=pulumi.Output.secret(kubeconfig),
        context=name,
        enable_server_side_apply=True,
        opts=pulumi.ResourceOptions(depends_on=list(ready)),
    )
    return dataclasses.replace(context, kubernetes=provider)


def _cost_guard(context: StackContext, settings: StackSettings, built: Sequence[BuiltSite]) -> AwsCostGuard:
    gpus, usd_per_gpu_hour = private_capacity(settings)
    return AwsCostGuard(
        context,
        AwsCostGuardArgs(
            settings=settings.cost_guard,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            private=PrivateMachines(
                gpus=gpus,
                usd_per_gpu_hour=usd_per_gpu_hour,
                gpus_per_server=gpus_of_a_server(settings),
                elastic=not isinstance(settings.private_cluster, ExistingSettings),
            ),
            sites=tuple(one.capacity for one in built),
        ),
    )


def _table(
    context: StackContext,
    settings: StackSettings,
    package: Package,
    built: Sequence[BuiltSite],
    cost: AwsCostGuard,
    secrets: Mapping[str, pulumi.Output[str]],
) -> pulumi.Output[RoutingTable]:
    hashes = {c.name: secrets[c.key_secret].apply(hash_key) for c in settings.gateway.clients if c.key_secret}
    addresses: dict[SiteName, pulumi.Output[str]] = {one.site.name: one.address for one in built}
    found = pulumi.Output.all(
        addresses=addresses,
        # A hash of a long random key gives nothing away, and the table is meant to be read.
        clients=pulumi.Output.unsecret(pulumi.Output.all(**hashes)),
        operator=pulumi.Output.unsecret(secrets[settings.gateway.operator_key_secret].apply(hash_key)),
        cutoff=cost.parameter_name,
        live=cost.live_parameter_name,
        jobs=next((one.jobs for one in built if one.jobs), None),
    )

    def build(names: dict[str, Any]) -> RoutingTable:
        return routing_table(
            settings,
            package.manifest,
            [one.site for one in built],
            DeployedNames(
                prefix=context.prefix,
                addresses=names["addresses"],
                client_hashes=names["clients"],
                operator_hash=names["operator"],
                cutoff_parameter=names["cutoff"],
                live_parameter=names["live"],
                jobs=names["jobs"],
            ),
            package.canary.manifest if package.canary else None,
        )

    return found.apply(build)


def _admit(built: Sequence[BuiltSite], gateways: Sequence[GatewayIdentity]) -> None:
    """The gateways to the sites that ask who they are."""
    for admit in (one.admit for one in built if one.admit):
        for gateway in gateways:
            admit(gateway)


def _gateways(
    context: StackContext, settings: StackSettings, base: Foundation, federation: AwsFederation, way_in: Entrance
) -> Iterator[GatewayIdentity]:
    of_aks = isinstance(settings.private_cluster, AksSettings)
    yield GatewayIdentity(
        "private",
        federation.gateway_role_arn,
        base.cluster.oidc_issuer_url if of_aks else None,
        f"system:serviceaccount:{context.namespaces.gateway}:{names.GATEWAY}",
    )
    if way_in.standby:
        yield GatewayIdentity("standby", way_in.standby.task_role_arn)


def _azure_dashboard(built: Sequence[BuiltSite]) -> pulumi.Output[str] | None:
    return next((one.watch.dashboard_url for one in built if one.watch.dashboard_url), None)


def _azure_budget(
    context: StackContext, settings: StackSettings, azure: AzureSurroundings | None, built: Sequence[BuiltSite]
) -> None:
    """Of the resource groups, whatever stands in them."""
    if azure is None or settings.azure is None:
        return
    from components.cost_guard.azure import AzureCostGuard, AzureCostGuardArgs
    from components.private_cluster.aks import node_group_name

    AzureCostGuard(
        context,
        AzureCostGuardArgs(
            settings=settings.cost_guard,
            resource_group_name=azure.resource_group_name,
            subscription_id=settings.azure.subscription_id,
            node_group_name=node_group_name(context.prefix)
            if isinstance(settings.private_cluster, AksSettings)
            else None,
            action_group_id=next((one.watch.action_group_id for one in built if one.watch.action_group_id), None),
        ),
    )


def _outside_network(
    context: StackContext,
    settings: StackSettings,
    network: AwsNetwork,
    azure: AzureSurroundings | None,
    built: Sequence[BuiltSite],
    secrets: Mapping[str, pulumi.Output[str]],
    alarm_topic_arn: pulumi.Input[str],
) -> None:
    connectivity = settings.connectivity
    if connectivity.vpn is None:
        return
    from components.connectivity.aws_vpn import AwsVpn, AwsVpnArgs

    AwsVpn(
        context,
        AwsVpnArgs(
            settings=connectivity.vpn,
            vpc_id=network.vpc_id,
            private_subnet_ids=network.private_subnet_ids,
            private_route_table_ids=network.private_route_table_ids,
            pre_shared_key=secrets[connectivity.vpn.psk_secret],
            logs_key_arn=network.logs_key_arn,
            log_retention_days=connectivity.flow_log_retention_days,
            alarm_topic_arn=alarm_topic_arn,
        ),
    )
    if connectivity.burst_egress != "vpn" or azure is None or settings.azure is None:
        return
    if not any(one.site.account == "azure" for one in built):
        return
    vnet, last_subnet = azure.network.vnet, azure.network.last_subnet
    assert vnet is not None, "a rule refuses a gateway in a network that is there already"
    assert last_subnet is not None
    from components.connectivity.azure_vpn import AzureVpn, AzureVpnArgs

    AzureVpn(
        context,
        AzureVpnArgs(
            settings=connectivity.vpn,
            resource_group_name=azure.resource_group_name,
            location=settings.azure.location,
            vnet_name=vnet.name,
            vnet_cidr=connectivity.vnet_cidr,
            pre_shared_key=secrets[connectivity.vpn.psk_secret],
            after=[last_subnet],
        ),
    )
