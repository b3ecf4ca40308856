"""What a site stands on: accounts, networks, stores, the cluster itself, the zone of its name.

Nothing here talks to a private address or waits for a person, so that it is a stage of its own: what it makes is what a
person needs to open the road for the rest (delegate to the zone's name servers, open the tunnel to the API server).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi

from components.base import StackContext
from components.burst.site import AzureSurroundings, BurstSite
from components.connectivity.aws_network import AwsNetwork, AwsNetworkArgs
from components.connectivity.settings import MirrorSettings
from components.failover_dns.settings import Route53Settings
from components.model_store.aws import AwsModelStore, AwsModelStoreArgs, TrialPackage
from components.private_cluster.settings import AksSettings, EksSettings
from spillway.contracts.classes import Site
from spillway.contracts.targets import Layout
from stacks.cluster import Cluster, private_cluster
from stacks.package import Package
from stacks.settings import StackSettings

if TYPE_CHECKING:
    from components.failover_dns.certificate import Certificate
    from components.failover_dns.route53_zone import Route53Zone


@dataclass(frozen=True)
class Foundation:
    """``mirror``: where machines in AWS pull from. ``callers``: networks that may call the private gateway.
    ``zone``: of Route 53, where it moves the name. ``certificate``: asked for here, waited for by its user."""

    context: StackContext
    mirror: MirrorSettings
    callers: tuple[str, ...]
    network: AwsNetwork
    store: AwsModelStore
    azure: AzureSurroundings | None
    cluster: Cluster
    zone: Route53Zone | None
    certificate: Certificate | None

    def outputs(self, settings: StackSettings) -> dict[str, Any]:
        """What opens the road for the next stage; ``stage`` is the last one that ended well."""
        return {
            "stage": settings.stage,
            "name_servers": self.zone.name_servers if self.zone else [],
            "api_server": self.cluster.api_server,
            "tunnel": self.cluster.tunnel,
        }


def foundation(
    settings: StackSettings,
    stack: str,
    package: Package,
    secrets: Mapping[str, pulumi.Output[str]],
    root: Path,
    sites: Sequence[BurstSite],
) -> Foundation:
    """Register what the site stands on."""
    context = _context(settings, stack)
    network = AwsNetwork(
        context,
        AwsNetworkArgs(
            settings=settings.connectivity,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            exposure=settings.exposure,
            zones=settings.connectivity.zones or _zones(context, settings),
        ),
    )
    store = _store(context, settings, package, sites)
    mirror = _mirror(context, settings)
    callers = _callers(context, settings)
    azure = _azure(context, settings, sites, callers)
    cluster = private_cluster(context, settings, network, azure, secrets, root)
    zone = _zone(context, settings, network)
    proof = _certificate(context, settings, zone)
    return Foundation(context, mirror, callers, network, store, azure, cluster, zone, proof)


def _mirror(context: StackContext, settings: StackSettings) -> MirrorSettings:
    """The mirror, and ECR's caches where the settings ask for some."""
    mirror = settings.connectivity.mirror
    if not mirror.pull_through:
        return mirror
    from components.connectivity.image_caches import ImageCaches, ImageCachesArgs

    return ImageCaches(context, ImageCachesArgs(mirror, settings.aws.region, settings.aws.account_id)).mirror


def _callers(context: StackContext, settings: StackSettings) -> tuple[str, ...]:
    """Clients, and Route 53's checkers where they ask the way in from outside."""
    clients = tuple(settings.client_cidrs)
    judged = isinstance(settings.dns, Route53Settings) and settings.gateway.standby.enabled
    if not judged or settings.exposure != "public":
        return clients
    from components.failover_dns import health_checkers

    return (*clients, *health_checkers.networks(context.aws, settings.aws.region))


def _zones(context: StackContext, settings: StackSettings) -> tuple[str, ...]:
    from components.connectivity.aws_zones import three_zones

    cluster = settings.private_cluster
    gpu_type = cluster.gpu_pool.instance_type if isinstance(cluster, EksSettings) else None
    return three_zones(context.aws, settings.aws.region, gpu_type)


def _context(settings: StackSettings, stack: str) -> StackContext:
    import pulumi_aws as aws

    prefix = f"{settings.name}-{stack}"
    context = StackContext(
        prefix=prefix,
        stack=stack,
        owner=settings.owner,
        cost_centre=settings.cost_centre,
        protect_data=settings.protect_data,
        permissions_boundary_arn=settings.aws.permissions_boundary_arn,
        extra_tags=dict(settings.tags),
        # The account is checked by the provider, so that a wrong profile cannot deploy into another one.
        aws=aws.Provider(f"{prefix}-aws", region=settings.aws.region, allowed_account_ids=[settings.aws.account_id]),
    )
    if settings.azure is None:
        return context
    import pulumi_azure_native as azure_native

    provider = azure_native.Provider(
        f"{prefix}-azure",
        subscription_id=settings.azure.subscription_id,
        tenant_id=settings.azure.tenant_id,
        location=settings.azure.location,
    )
    return dataclasses.replace(context, azure=provider)


def _store(
    context: StackContext, settings: StackSettings, package: Package, sites: Sequence[BurstSite]
) -> AwsModelStore:
    """AWS's model store, which also serves the private site, and from which Azure's gets its packages."""
    contents = {site.name: package.content(site.name, site.layout) for site in sites if site.account != "own"}
    return AwsModelStore(
        context,
        AwsModelStoreArgs(
            settings=settings.model_store,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            package_dir=package.path,
            manifest=package.manifest,
            contents={Site.PRIVATE.value: package.content(Site.PRIVATE, Layout.TRITON), **contents},
            trial=_trial(package.canary),
        ),
    )


def _trial(release: Package | None) -> TrialPackage | None:
    if release is None:
        return None
    return TrialPackage(release.path, release.manifest, release.content(Site.PRIVATE, Layout.TRITON))


def _azure(
    context: StackContext, settings: StackSettings, sites: Sequence[BurstSite], callers: tuple[str, ...]
) -> AzureSurroundings | None:
    """The stack's resource group and network in Azure, for whatever stands there."""
    if settings.azure is None:
        return None
    from pulumi_azure_native import resources

    from components.connectivity.azure_network import AzureNetwork, AzureNetworkArgs

    account = settings.azure
    group = resources.ResourceGroup(
        f"{context.prefix}-group",
        resource_group_name=context.prefix,
        location=account.location,
        tags=context.tags,
        opts=pulumi.ResourceOptions(provider=context.azure, protect=context.protect_data or None),
    )
    network = AzureNetwork(
        context,
        AzureNetworkArgs(
            resource_group_name=group.name,
            location=account.location,
            cidr=settings.connectivity.vnet_cidr,
            settings=settings.connectivity.azure_network,
            peer_cidrs=tuple(settings.client_cidrs),
            public_cidrs=callers if _balances_in_azure(settings) else (),
            public_port=443 if settings.gateway.tls else 80,
            has_courier=settings.model_store.upload_package and any(site.account == "azure" for site in sites),
        ),
    )
    return AzureSurroundings(group.name, network)


def _balances_in_azure(settings: StackSettings) -> bool:
    """Whether the private gateway has a public address in AKS."""
    return isinstance(settings.private_cluster, AksSettings) and settings.exposure == "public"


def _zone(context: StackContext, settings: StackSettings, network: AwsNetwork) -> Route53Zone | None:
    dns = settings.dns
    if not isinstance(dns, Route53Settings):
        return None
    from components.failover_dns.route53_zone import Route53Zone, Route53ZoneArgs

    return Route53Zone(
        context,
        Route53ZoneArgs(settings=dns, region=settings.aws.region, exposure=settings.exposure, vpc_id=network.vpc_id),
    )


def _certificate(context: StackContext, settings: StackSettings, zone: Route53Zone | None) -> Certificate | None:
    """For the standby gateway, where the settings give none and a public zone can prove the name."""
    standby = settings.gateway.standby
    if not standby.enabled or standby.certificate_arn or zone is None or zone.certificate_zone_id is None:
        return None
    from components.failover_dns.certificate import Certificate, CertificateArgs

    return Certificate(context, CertificateArgs(host=settings.dns.host, zone_id=zone.certificate_zone_id))
