"""One hybrid site: which components there are, and how they are wired. Everything follows from the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import yaml

from components.base import StackContext
from components.connectivity.aws_federation import AwsFederation, AwsFederationArgs
from components.connectivity.aws_network import AwsNetwork, AwsNetworkArgs
from components.cost_guard.aws import AwsCostGuard, AwsCostGuardArgs, AzureCapacity, PrivateCapacity, SageMakerCapacity
from components.cost_guard.settings import instance_price
from components.gateway.envoy_config import render
from components.gateway.standby import StandbyGateway, StandbyGatewayArgs
from components.model_store.aws import AwsModelStore, AwsModelStoreArgs
from components.monitoring.aws import AwsMonitoring, AwsMonitoringArgs
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import Listen, RoutingTable, hash_key
from stacks.package import Package
from stacks.pricing import price_per_hour, private_capacity
from stacks.settings import StackSettings
from stacks.sites import AZURE_KEY_FILE, KEYS_FOLDER, DeployedNames, listen, routing_table

if TYPE_CHECKING:
    from components.burst.azure_ml import AzureMlBurst
    from components.burst.sagemaker import SageMakerBurst
    from components.connectivity.azure_network import AzureNetwork
    from components.model_store.azure import AzureModelStore

RUNTIME_DIR = "/var/run/spillway"


@dataclass(frozen=True)
class Cluster:
    """What the rest needs of a private cluster, whoever runs it. ``kubeconfig`` is secret."""

    kubeconfig: pulumi.Input[str]
    context: str | None = None
    name: pulumi.Input[str] | None = None
    oidc_issuer_url: pulumi.Input[str] | None = None
    oidc_provider_arn: pulumi.Input[str] | None = None
    ready: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True)
class Azure:
    """The Azure half: its group, network, model store and burst site, as far as they are on."""

    resource_group_name: pulumi.Output[str]
    network: AzureNetwork
    store: AzureModelStore | None = None
    burst: AzureMlBurst | None = None


def compose(
    settings: StackSettings, stack: str, package: Package, secrets: Mapping[str, pulumi.Output[str]], root: Path
) -> dict[str, Any]:
    """Register the whole site and return the stack's outputs. ``secrets``: the stack's secrets by name."""
    context = _context(settings, stack)
    network = AwsNetwork(
        context,
        AwsNetworkArgs(
            settings=settings.connectivity,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            exposure=settings.exposure,
        ),
    )
    from_aws = (Site.PRIVATE, Site.SAGEMAKER) if settings.burst.sagemaker else (Site.PRIVATE,)
    store = AwsModelStore(
        context,
        AwsModelStoreArgs(
            settings=settings.model_store,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            package_dir=package.path,
            manifest=package.manifest,
            contents={site: package.content(site) for site in from_aws},
        ),
    )
    azure = _azure(context, settings, package)
    sagemaker = _sagemaker(context, settings, package, network, store)
    cluster = _cluster(context, settings, network, azure, secrets, root)
    context = _with_kubernetes(context, cluster)
    cost = _cost_guard(context, settings, network, sagemaker, azure, secrets)
    endpoint_arns = [sagemaker.endpoint_arn] if sagemaker else []
    federation = AwsFederation(
        context,
        AwsFederationArgs(
            settings=settings.connectivity.federation,
            endpoint_arns=endpoint_arns,
            cutoff_parameter_arn=cost.parameter_arn,
            bucket_arn=store.bucket_arn,
            bucket_key_arn=store.kms_key_arn,
            oidc_provider_arn=cluster.oidc_provider_arn,
            oidc_issuer_url=cluster.oidc_issuer_url,
        ),
    )
    table = _table(context, settings, package, sagemaker, azure, cost, secrets)
    keys = {AZURE_KEY_FILE: azure.burst.key} if azure and azure.burst else {}
    gateway = _inside_cluster(context, settings, package, cluster, store, azure, federation, table, keys)
    host, standby, dns = _entrance(
        context, settings, network, gateway, cost, table, keys, endpoint_arns, azure, secrets
    )
    monitoring = AwsMonitoring(
        context,
        AwsMonitoringArgs(
            settings=settings.monitoring,
            region=settings.aws.region,
            topic_arn=cost.topic_arn,
            endpoint_name=sagemaker.endpoint_name if sagemaker else None,
            async_endpoint_name=sagemaker.async_endpoint_name if sagemaker else None,
            variant=sagemaker.variant if sagemaker else "primary",
            gpus_per_instance=_sagemaker_gpus(settings),
            load_balancer=standby.arn_suffix if standby else None,
        ),
    )
    azure_dashboard, azure_alarms = _watch_azure(context, settings, azure)
    _outside_network(context, settings, network, azure, secrets)
    return {
        "gateways": {"private": gateway.address, "standby": standby.dns_name if standby else None},
        "dns_name": host,
        "endpoints": {
            "sagemaker": sagemaker.endpoint_name if sagemaker else None,
            "sagemaker_async": sagemaker.async_endpoint_name if sagemaker else None,
            "azure_ml": azure.burst.endpoint_name if azure and azure.burst else None,
            "azure_ml_host": azure.burst.host if azure and azure.burst else None,
            "azure_ml_batch": azure.burst.batch_endpoint_name if azure and azure.burst else None,
        },
        "dashboards": {"aws": monitoring.dashboard_url, "azure": azure_dashboard},
        "alarms": {**cost.alarm_names, **monitoring.alarm_names, **azure_alarms, **dns},
        "cutoff_parameter": cost.parameter_name,
        "package": {"name": package.manifest.name, "version": package.manifest.version},
        "price_per_hour": price_per_hour(settings),
    }


def _context(settings: StackSettings, stack: str) -> StackContext:
    import pulumi_aws as aws

    prefix = f"{settings.name}-{stack}"
    context = StackContext(
        prefix=prefix,
        stack=stack,
        owner=settings.owner,
        cost_centre=settings.cost_centre,
        protect_data=settings.protect_data,
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


def _with_kubernetes(context: StackContext, cluster: Cluster) -> StackContext:
    import pulumi_kubernetes as k8s

    provider = k8s.Provider(
        f"{context.prefix}-kubernetes",
        kubeconfig=pulumi.Output.secret(cluster.kubeconfig),
        context=cluster.context,
        enable_server_side_apply=True,
        opts=pulumi.ResourceOptions(depends_on=list(cluster.ready)),
    )
    return dataclasses.replace(context, kubernetes=provider)


def _azure(context: StackContext, settings: StackSettings, package: Package) -> Azure | None:
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
            peer_cidrs=tuple(settings.client_cidrs),
        ),
    )
    azure = Azure(group.name, network)
    if settings.burst.azure_ml is None:
        return azure
    from components.burst.azure_ml import AzureMlArgs, AzureMlBurst
    from components.model_store.azure import AzureModelStore, AzureModelStoreArgs

    store = AzureModelStore(
        context,
        AzureModelStoreArgs(
            settings=settings.model_store.azure,
            resource_group_name=group.name,
            location=account.location,
            subscription_id=account.subscription_id,
            endpoints_subnet_id=network.endpoints_subnet_id,
            zone_ids=network.zone_ids,
            manifest=package.manifest,
            content=package.content(Site.AZURE_ML),
            upload=settings.model_store.upload_package,
            deployer_cidrs=settings.connectivity.deployer_cidrs,
        ),
    )
    burst = AzureMlBurst(
        context,
        AzureMlArgs(
            settings=settings.burst.azure_ml,
            resource_group_name=group.name,
            location=account.location,
            subscription_id=account.subscription_id,
            tenant_id=account.tenant_id,
            endpoints_subnet_id=network.endpoints_subnet_id,
            zone_ids=network.zone_ids,
            manifest=package.manifest,
            store_account_name=store.account_name,
            store_account_id=store.account_id,
            store_container_name=store.container_name,
            model_folder=store.model_folder,
            uploads=tuple(store.uploads),
            live_instances=settings.live.azure_ml_instances,
            public_endpoint=settings.connectivity.burst_egress == "public_with_key",
        ),
    )
    return dataclasses.replace(azure, store=store, burst=burst)


def _sagemaker(
    context: StackContext, settings: StackSettings, package: Package, network: AwsNetwork, store: AwsModelStore
) -> SageMakerBurst | None:
    if settings.burst.sagemaker is None:
        return None
    from components.burst.sagemaker import SageMakerBurst, SageMakerBurstArgs

    return SageMakerBurst(
        context,
        SageMakerBurstArgs(
            settings=settings.burst.sagemaker,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            vpc_id=network.vpc_id,
            vpc_cidr=network.cidr,
            subnet_ids=pulumi.Output.all(*network.private_subnet_ids),
            s3_prefix_list_id=network.s3_prefix_list_id,
            package_bucket_name=store.bucket_name,
            package_bucket_arn=store.bucket_arn,
            package_kms_key_arn=store.kms_key_arn,
            package_key=store.stored[Site.SAGEMAKER].key,
            package_sha256=store.stored[Site.SAGEMAKER].sha256,
            package_version=package.manifest.version,
            kind=package.manifest.kind,
            entry_model=package.manifest.entry_model,
            live_instances=settings.live.sagemaker_instances,
        ),
        opts=pulumi.ResourceOptions(depends_on=store.objects),
    )


def _cluster(
    context: StackContext,
    settings: StackSettings,
    network: AwsNetwork,
    azure: Azure | None,
    secrets: Mapping[str, pulumi.Output[str]],
    root: Path,
) -> Cluster:
    chosen = settings.private_cluster
    match chosen:
        case EksSettings():
            return _eks(context, settings, chosen, network)
        case AksSettings():
            assert azure is not None
            return _aks(context, settings, chosen, azure)
        case ExistingSettings():
            if chosen.kubeconfig_secret:
                return Cluster(secrets[chosen.kubeconfig_secret], chosen.context)
            text = (root / str(chosen.kubeconfig_path)).read_text(encoding="utf-8")
            return Cluster(pulumi.Output.secret(text), chosen.context)


def _eks(context: StackContext, settings: StackSettings, chosen: EksSettings, network: AwsNetwork) -> Cluster:
    from components.connectivity.deployer import DeployerHost, DeployerHostArgs
    from components.private_cluster.eks import Eks, EksArgs

    connectivity = settings.connectivity
    host = None
    if connectivity.deployer != "authorised_cidrs":
        host = DeployerHost(
            context,
            DeployerHostArgs(
                settings=connectivity.deployer_host,
                purpose=connectivity.deployer,
                region=settings.aws.region,
                vpc_id=network.vpc_id,
                subnet_id=network.private_subnet_ids[0],
            ),
        )
    eks = Eks(
        context,
        EksArgs(
            settings=chosen,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            vpc_id=network.vpc_id,
            private_subnet_ids=network.private_subnet_ids,
            logs_key_arn=network.logs_key_arn,
            api_cidrs=connectivity.deployer_cidrs,
            api_security_group_ids=[host.security_group_id] if host else [],
        ),
    )
    return Cluster(
        kubeconfig=eks.kubeconfig,
        name=eks.name,
        oidc_issuer_url=eks.oidc_issuer_url,
        oidc_provider_arn=eks.oidc_provider_arn,
        ready=tuple(eks.ready),
    )


def _aks(context: StackContext, settings: StackSettings, chosen: AksSettings, azure: Azure) -> Cluster:
    from components.private_cluster.aks import Aks, AksArgs

    assert settings.azure is not None
    aks = Aks(
        context,
        AksArgs(
            settings=chosen,
            resource_group_name=azure.resource_group_name,
            location=settings.azure.location,
            subscription_id=settings.azure.subscription_id,
            tenant_id=settings.azure.tenant_id,
            vnet_id=azure.network.vnet_id,
            nodes_subnet_id=azure.network.nodes_subnet_id,
        ),
    )
    return Cluster(
        kubeconfig=aks.kubeconfig, name=aks.name, oidc_issuer_url=aks.oidc_issuer_url, ready=tuple(aks.ready)
    )


def _cost_guard(
    context: StackContext,
    settings: StackSettings,
    network: AwsNetwork,
    sagemaker: SageMakerBurst | None,
    azure: Azure | None,
    secrets: Mapping[str, pulumi.Output[str]],
) -> AwsCostGuard:
    reader_arn, scaler_arn, azure_capacity = None, None, ()
    if azure and azure.burst and settings.azure and settings.burst.azure_ml:
        from components.cost_guard.azure_credential import AzureCredential, AzureCredentialArgs

        own, key = settings.cost_guard, network.credentials_key_arn
        reader_arn = AzureCredential(
            context, AzureCredentialArgs("reader", "reads Azure's live capacity", secrets[own.azure_reader_secret], key)
        ).secret_arn
        if own.azure_scaler_secret is not None:
            scaler_arn = AzureCredential(
                context, AzureCredentialArgs("scaler", "lowers Azure's capacity", secrets[own.azure_scaler_secret], key)
            ).secret_arn
        azure_capacity = _azure_capacity(settings, azure.burst, settings.azure.location)
    gpus, usd_per_gpu_hour = private_capacity(settings)
    return AwsCostGuard(
        context,
        AwsCostGuardArgs(
            settings=settings.cost_guard,
            region=settings.aws.region,
            account_id=settings.aws.account_id,
            private=PrivateCapacity(
                gpus=gpus,
                usd_per_gpu_hour=usd_per_gpu_hour,
                gpus_per_server=settings.model_server.gpus,
                elastic=not isinstance(settings.private_cluster, ExistingSettings),
            ),
            sagemaker=_sagemaker_capacity(settings, sagemaker),
            azure=azure_capacity,
            azure_secret_arn=reader_arn,
            azure_scaler_secret_arn=scaler_arn,
            azure_secret_kms_key_arn=network.credentials_key_arn if reader_arn is not None else None,
        ),
    )


def _azure_capacity(settings: StackSettings, burst: AzureMlBurst, location: str) -> tuple[AzureCapacity, ...]:
    chosen = settings.burst.azure_ml
    assert chosen is not None
    manager = "https://management.azure.com"
    online = AzureCapacity(
        url=pulumi.Output.concat(
            manager, burst.endpoint_id, f"/deployments/{chosen.deployment_name}?api-version=2024-10-01"
        ),
        field=("sku", "capacity"),
        size=("properties", "instanceType"),
        vm_size=chosen.vm_size,
        region=location,
        autoscale_url=pulumi.Output.concat(manager, burst.autoscale_id, "?api-version=2022-10-01"),
        minimum=chosen.min_instances,
        request_class=RequestClass.P1,
    )
    return (online,)


def _watch_azure(
    context: StackContext, settings: StackSettings, azure: Azure | None
) -> tuple[pulumi.Output[str] | None, dict[str, pulumi.Output[str]]]:
    """Alerts and dashboard of the Azure ML endpoint, and the budget: the dashboard's address and the alerts' names."""
    if azure is None or settings.azure is None:
        return None, {}
    from components.cost_guard.azure import AzureCostGuard, AzureCostGuardArgs

    watched = None
    if azure.burst and settings.burst.azure_ml:
        from components.monitoring.azure import AzureMonitoring, AzureMonitoringArgs

        deployment = settings.burst.azure_ml.deployment_name
        watched = AzureMonitoring(
            context,
            AzureMonitoringArgs(
                settings=settings.monitoring,
                resource_group_name=azure.resource_group_name,
                location=settings.azure.location,
                tenant_id=settings.azure.tenant_id,
                endpoint_id=azure.burst.endpoint_id,
                deployment_id=pulumi.Output.concat(azure.burst.endpoint_id, "/deployments/", deployment),
                notify_emails=settings.cost_guard.notify_emails,
                depends_on=(azure.burst,),
            ),
        )
    AzureCostGuard(
        context,
        AzureCostGuardArgs(
            settings=settings.cost_guard,
            resource_group_name=azure.resource_group_name,
            subscription_id=settings.azure.subscription_id,
            action_group_id=watched.action_group_id if watched else None,
        ),
    )
    if watched is None:
        return None, {}
    return watched.dashboard_url, {f"azure-{name}": alarm for name, alarm in watched.alarm_names.items()}


def _sagemaker_capacity(settings: StackSettings, sagemaker: SageMakerBurst | None) -> tuple[SageMakerCapacity, ...]:
    chosen = settings.burst.sagemaker
    if sagemaker is None or chosen is None:
        return ()
    found = [
        SageMakerCapacity(
            endpoint_name=sagemaker.endpoint_name,
            endpoint_arn=sagemaker.endpoint_arn,
            resource_id=sagemaker.resource_id,
            variant=sagemaker.variant,
            instance_type=chosen.instance_type,
            minimum=chosen.min_instances,
            request_class=RequestClass.P1,
        )
    ]
    if chosen.asynchronous and sagemaker.async_endpoint_name is not None:
        assert sagemaker.async_endpoint_arn is not None
        assert sagemaker.async_resource_id is not None
        found.append(
            SageMakerCapacity(
                endpoint_name=sagemaker.async_endpoint_name,
                endpoint_arn=sagemaker.async_endpoint_arn,
                resource_id=sagemaker.async_resource_id,
                variant=sagemaker.variant,
                instance_type=chosen.asynchronous.instance_type,
                minimum=0,
                request_class=RequestClass.P2,
            )
        )
    return tuple(found)


def _sagemaker_gpus(settings: StackSettings) -> int:
    chosen = settings.burst.sagemaker
    if chosen is None:
        return 1
    return instance_price(settings.cost_guard, "sagemaker", chosen.instance_type, settings.aws.region)[1]


def _table(
    context: StackContext,
    settings: StackSettings,
    package: Package,
    sagemaker: SageMakerBurst | None,
    azure: Azure | None,
    cost: AwsCostGuard,
    secrets: Mapping[str, pulumi.Output[str]],
) -> pulumi.Output[RoutingTable]:
    clients = settings.gateway.clients
    hashes = {client.name: secrets[client.key_secret].apply(hash_key) for client in clients}
    found = pulumi.Output.all(
        sagemaker=sagemaker.endpoint_name if sagemaker else None,
        azure=azure.burst.host if azure and azure.burst else None,
        # A hash of a long random key gives nothing away, and the table is meant to be read.
        clients=pulumi.Output.unsecret(pulumi.Output.all(**hashes)),
        operator=pulumi.Output.unsecret(secrets[settings.gateway.operator_key_secret].apply(hash_key)),
        cutoff=cost.parameter_name,
    )

    def build(names: dict[str, Any]) -> RoutingTable:
        return routing_table(
            settings,
            package.manifest,
            DeployedNames(
                prefix=context.prefix,
                sagemaker_endpoint=names["sagemaker"],
                azure_ml_host=names["azure"],
                client_hashes=names["clients"],
                operator_hash=names["operator"],
                cutoff_parameter=names["cutoff"],
            ),
        )

    return found.apply(build)


def _envoy_yaml(table: RoutingTable) -> str:
    return yaml.safe_dump(render(table), sort_keys=False)


def _inside_cluster(
    context: StackContext,
    settings: StackSettings,
    package: Package,
    cluster: Cluster,
    store: AwsModelStore,
    azure: Azure | None,
    federation: AwsFederation,
    table: pulumi.Output[RoutingTable],
    keys: dict[str, pulumi.Output[str]],
) -> Any:
    from components.gateway.kubernetes import KubernetesGateway, KubernetesGatewayArgs
    from components.model_server.server import ModelServer, ModelServerArgs
    from components.model_store.kubernetes import AzureTarget, KubernetesModelStore, KubernetesModelStoreArgs
    from components.monitoring.kubernetes import KubernetesMonitoring, KubernetesMonitoringArgs
    from components.private_cluster.platform import KubernetesPlatform, KubernetesPlatformArgs

    mirror = settings.connectivity.mirror
    platform = KubernetesPlatform(
        context,
        KubernetesPlatformArgs(
            settings=settings.private_cluster,
            mirror=mirror,
            gateway_clients=tuple(settings.client_cidrs),
            cluster_name=cluster.name,
            region=settings.aws.region,
        ),
    )
    ready = (platform,)
    target = None
    if azure and azure.store and azure.burst and settings.azure:
        target = AzureTarget(
            account_name=azure.store.account_name,
            container_name=azure.store.container_name,
            client_id=azure.burst.identity.client_id,
            tenant_id=settings.azure.tenant_id,
        )
    if target is not None:
        _trust_sync_in_azure(context, settings, azure, cluster)
    shelves = KubernetesModelStore(
        context,
        KubernetesModelStoreArgs(
            settings=settings.model_store,
            mirror=mirror,
            aws_region=settings.aws.region,
            bucket_name=store.bucket_name,
            role_arn=federation.sync_role_arn,
            priority_class=platform.priority_classes[RequestClass.P2],
            azure=target,
            depends_on=ready,
        ),
    )
    ModelServer(
        context,
        ModelServerArgs(
            settings=settings.model_server,
            mirror=mirror,
            accelerator=settings.private_cluster.accelerator,
            kind=package.manifest.kind,
            entry_model=package.manifest.entry_model,
            package_uri=store.stored[Site.PRIVATE].uri,
            package_sha256=store.stored[Site.PRIVATE].sha256,
            aws_region=settings.aws.region,
            priority_class=platform.priority_classes[settings.model_server.request_class],
            role_arn=federation.server_role_arn,
            redis_host=shelves.redis_host,
            engine_host_code=Site.PRIVATE in package.engines and package.engines[Site.PRIVATE].version_compatible,
            depends_on=(*ready, *store.objects),
        ),
    )
    KubernetesMonitoring(
        context,
        KubernetesMonitoringArgs(
            settings=settings.monitoring,
            mirror=mirror,
            accelerator=settings.private_cluster.accelerator,
            kind=package.manifest.kind,
            depends_on=ready,
        ),
    )
    return KubernetesGateway(
        context,
        KubernetesGatewayArgs(
            settings=settings.gateway,
            mirror=mirror,
            listen=listen(settings.gateway),
            runtime_dir=RUNTIME_DIR,
            cluster_kind=settings.private_cluster.kind,
            exposure=settings.exposure,
            client_cidrs=tuple(settings.client_cidrs),
            aws_region=settings.aws.region,
            role_arn=federation.gateway_role_arn,
            envoy_yaml=table.apply(_envoy_yaml),
            routing_json=table.apply(lambda found: found.model_dump_json()),
            priority_class=platform.priority_classes[RequestClass.P0],
            keys=dict(keys),
            depends_on=ready,
        ),
    )


def _trust_sync_in_azure(context: StackContext, settings: StackSettings, azure: Azure | None, cluster: Cluster) -> None:
    """The package sync acts as Azure ML's identity, where Azure can check the cluster's tokens."""
    from components.connectivity.azure_federation import AzureFederation, AzureFederationArgs
    from components.kubernetes_documents import SYSTEM_NAMESPACE
    from components.model_store.kubernetes import SYNC

    outside = settings.connectivity.federation.oidc_issuer
    issuer = cluster.oidc_issuer_url or (outside.url if outside else None)
    if issuer is None or azure is None or azure.burst is None:
        return
    AzureFederation(
        context,
        AzureFederationArgs(
            resource_group_name=azure.resource_group_name,
            identity_name=azure.burst.identity.name,
            issuer_url=issuer,
            namespace=SYSTEM_NAMESPACE,
            service_account=SYNC,
        ),
    )


def _entrance(
    context: StackContext,
    settings: StackSettings,
    network: AwsNetwork,
    gateway: Any,
    cost: AwsCostGuard,
    table: pulumi.Output[RoutingTable],
    keys: dict[str, pulumi.Output[str]],
    endpoint_arns: list[pulumi.Output[str]],
    azure: Azure | None,
    secrets: Mapping[str, pulumi.Output[str]],
) -> tuple[pulumi.Input[str], StandbyGateway | None, dict[str, pulumi.Output[str]]]:
    """Standby gateway and DNS over both: the name clients use, the standby, and alarm names."""
    dns = settings.dns
    zone = None
    if dns.provider == "route53":
        from components.failover_dns.route53_zone import Route53Zone, Route53ZoneArgs

        zone = Route53Zone(
            context,
            Route53ZoneArgs(
                settings=dns, region=settings.aws.region, exposure=settings.exposure, vpc_id=network.vpc_id
            ),
        )
    standby = None
    if settings.gateway.standby.enabled:
        standby_table = table.apply(lambda found: found.standby().model_copy(update={"listen": Listen()}))
        standby = StandbyGateway(
            context,
            StandbyGatewayArgs(
                settings=settings.gateway,
                mirror=settings.connectivity.mirror,
                region=settings.aws.region,
                account_id=settings.aws.account_id,
                exposure=settings.exposure,
                host=dns.host,
                vpc_id=network.vpc_id,
                vpc_cidr=network.cidr,
                private_subnet_ids=network.private_subnet_ids,
                public_subnet_ids=network.public_subnet_ids,
                client_cidrs=settings.client_cidrs,
                logs_key_arn=network.logs_key_arn,
                envoy_yaml=standby_table.apply(_envoy_yaml),
                routing_json=standby_table.apply(lambda found: found.model_dump_json()),
                endpoint_arns=endpoint_arns,
                cutoff_parameter_arn=cost.parameter_arn,
                secrets_key_arn=network.credentials_key_arn,
                secret_files={f"{KEYS_FOLDER}/{name}": key for name, key in keys.items()},
                certificate_zone_id=zone.certificate_zone_id if zone else None,
                runtime_dir=RUNTIME_DIR,
            ),
        )
    if dns.provider == "route53":
        if standby is None or zone is None:
            return dns.host, standby, {}
        from components.failover_dns.route53 import Route53Failover, Route53FailoverArgs

        failover = Route53Failover(
            context,
            Route53FailoverArgs(
                settings=dns,
                region=settings.aws.region,
                zone_id=zone.zone_id,
                primary_address=gateway.address,
                primary_kind=gateway.address_kind,
                standby_dns_name=standby.dns_name,
                standby_zone_id=standby.zone_id,
                alarm_topic_arn=cost.topic_arn,
            ),
        )
        return failover.host, standby, {"heartbeat": failover.alarm_name}
    from components.failover_dns.traffic_manager import TrafficManager, TrafficManagerArgs

    assert azure is not None
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
            credentials=secrets[dns.switch_secret] if standby else None,
        ),
    )
    return manager.host, standby, {"heartbeat": manager.alarm_name}


def _outside_network(
    context: StackContext,
    settings: StackSettings,
    network: AwsNetwork,
    azure: Azure | None,
    secrets: Mapping[str, pulumi.Output[str]],
) -> None:
    connectivity = settings.connectivity
    if connectivity.burst_egress != "vpn" or connectivity.vpn is None:
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
        ),
    )
    if azure is None or azure.burst is None or settings.azure is None:
        return
    from components.connectivity.azure_vpn import AzureVpn, AzureVpnArgs

    AzureVpn(
        context,
        AzureVpnArgs(
            settings=connectivity.vpn,
            resource_group_name=azure.resource_group_name,
            location=settings.azure.location,
            vnet_name=azure.network.vnet.name,
            vnet_cidr=connectivity.vnet_cidr,
            pre_shared_key=secrets[connectivity.vpn.psk_secret],
            after=[azure.network.endpoints_subnet],
        ),
    )
