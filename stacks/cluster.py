"""The private site: the cluster, whoever runs it, and what stands on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi

from components.base import StackContext
from components.burst.site import AzureSurroundings, BuiltSite
from components.connectivity.aws_federation import AwsFederation
from components.connectivity.aws_network import AwsNetwork, subnet_cidrs
from components.connectivity.settings import MirrorSettings
from components.model_store.aws import AwsModelStore, StoredContent
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts import vllm_serving
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.manifest import Manifest
from spillway.contracts.names import CANARY, MODEL_SERVER
from spillway.contracts.routing import RoutingTable
from stacks.package import Package
from stacks.placement import efa_of_a_server, gpu_taints, gpus_of_a_node, parts_of_a_gpu, server_size, spare_gpu
from stacks.routing import envoy_yaml, listen
from stacks.settings import StackSettings

if TYPE_CHECKING:
    from components.gateway.kubernetes import KubernetesGateway, Tls
    from components.model_server.group import Fabric
    from components.model_server.server import ModelServerArgs

RUNTIME_DIR = "/var/run/spillway"
_HUGE_PAGES_MIB = 5120


@dataclass(frozen=True)
class Cluster:
    """What the rest needs of a private cluster, whoever runs it. ``kubeconfig`` is secret.

    ``tunnel``: the command that opens the road to its API server, where a tunnel is one.
    """

    kubeconfig: pulumi.Input[str]
    context: str | None = None
    name: pulumi.Input[str] | None = None
    volumes_key_arn: pulumi.Input[str] | None = None
    oidc_issuer_url: pulumi.Input[str] | None = None
    oidc_provider_arn: pulumi.Input[str] | None = None
    ready: tuple[pulumi.Resource, ...] = ()
    tunnel: pulumi.Output[str] | None = None
    api_server: pulumi.Output[str] | None = None


def private_cluster(
    context: StackContext,
    settings: StackSettings,
    network: AwsNetwork,
    azure: AzureSurroundings | None,
    secrets: Mapping[str, pulumi.Output[str]],
    root: Path,
) -> Cluster:
    """The cluster that the settings choose: a new one, or one that is there."""
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
            text = kubeconfig_file(root, str(chosen.kubeconfig_path)).read_text(encoding="utf-8")
            return Cluster(pulumi.Output.secret(text), chosen.context)


def kubeconfig_file(root: Path, path: str) -> Path:
    """``root``: the project's folder; ``~`` is the user's."""
    return root / Path(path).expanduser()


def _eks(context: StackContext, settings: StackSettings, chosen: EksSettings, network: AwsNetwork) -> Cluster:
    from components.connectivity.deployer import DeployerHost, DeployerHostArgs
    from components.private_cluster.eks import Eks, EksArgs

    connectivity = settings.connectivity
    on_the_road = pulumi.ResourceOptions(depends_on=network.roads)
    host = None
    if connectivity.deployer in ("tunnel", "in_vpc_runner"):
        host = DeployerHost(
            context,
            DeployerHostArgs(
                settings=connectivity.deployer_host,
                purpose=connectivity.deployer,
                region=settings.aws.region,
                vpc_id=network.vpc_id,
                subnet_id=network.private_subnet_ids[0],
            ),
            opts=on_the_road,
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
            tunnel_port=connectivity.deployer_host.tunnel_port if connectivity.deployer == "tunnel" else None,
            pulls_through=bool(connectivity.mirror.pull_through),
            one_zone=settings.model_server.span is not None,
            efa=efa_of_a_server(settings) > 0,
        ),
        opts=on_the_road,
    )
    return Cluster(
        kubeconfig=eks.kubeconfig,
        name=eks.name,
        volumes_key_arn=eks.volumes_key_arn,
        oidc_issuer_url=eks.oidc_issuer_url,
        oidc_provider_arn=eks.oidc_provider_arn,
        ready=(*eks.ready, *(host.ready if host else ())),
        api_server=eks.endpoint,
        tunnel=host.tunnel_command(eks.endpoint) if host and connectivity.deployer == "tunnel" else None,
    )


def _aks(context: StackContext, settings: StackSettings, chosen: AksSettings, azure: AzureSurroundings) -> Cluster:
    from components.private_cluster.aks import Aks, AksArgs

    assert settings.azure is not None
    assert azure.network.nodes_subnet_id is not None, "a rule refuses a network without a subnet for nodes"
    aks = Aks(
        context,
        AksArgs(
            settings=chosen,
            resource_group_name=azure.resource_group_name,
            location=settings.azure.location,
            subscription_id=settings.azure.subscription_id,
            tenant_id=settings.azure.tenant_id,
            nodes_subnet_id=azure.network.nodes_subnet_id,
            vnet_id=azure.network.vnet.id if azure.network.vnet else None,
            api_cidrs=settings.connectivity.deployer_cidrs,
            one_zone=settings.model_server.span is not None,
        ),
    )
    return Cluster(
        kubeconfig=aks.kubeconfig, name=aks.name, oidc_issuer_url=aks.oidc_issuer_url, ready=tuple(aks.ready)
    )


def private_site(
    context: StackContext,
    settings: StackSettings,
    package: Package,
    network: AwsNetwork,
    cluster: Cluster,
    store: AwsModelStore,
    federation: AwsFederation,
    table: pulumi.Output[RoutingTable],
    built: Sequence[BuiltSite],
    tls: Tls | None,
    mirror: MirrorSettings,
    callers: tuple[str, ...],
    proving_zone: pulumi.Input[str] | None,
    pull_config: pulumi.Input[str] | None,
    topic_arn: pulumi.Input[str],
) -> KubernetesGateway:
    """Everything that runs on the cluster; the gateway is what the rest needs of it. ``callers``: networks that may
    call that. ``proving_zone``: of Route 53, where cert-manager proves the name. ``pull_config``: what opens the
    mirror, as docker config JSON. ``topic_arn``: of all notices."""
    from components.gateway.kubernetes import DEREGISTERED_AFTER_S, KubernetesGateway, KubernetesGatewayArgs
    from components.model_server import triton, vllm
    from components.model_server.server import ModelServer, ModelServerArgs
    from components.model_store.kubernetes import KubernetesModelStore, KubernetesModelStoreArgs
    from components.monitoring.kubernetes import KubernetesMonitoring, KubernetesMonitoringArgs, Notices
    from components.private_cluster.platform import KubernetesPlatform, KubernetesPlatformArgs

    trial = settings.model_server.canary
    servers = (MODEL_SERVER, CANARY) if trial else (MODEL_SERVER,)
    platform = KubernetesPlatform(
        context,
        KubernetesPlatformArgs(
            settings=settings.private_cluster,
            mirror=mirror,
            gateway_clients=(*callers, *_balancer_networks(settings)),
            model_port=triton.HTTP_PORT,
            # vLLM has its metrics on the port that serves.
            metrics_port=vllm.HTTP_PORT if package.manifest.kind == "vllm" else triton.METRICS_PORT,
            servers=servers,
            grouped=settings.model_server.span is not None,
            efa=efa_of_a_server(settings) > 0,
            surge_gpus=settings.model_server.gpus_in_all * (1 + settings.model_server.autoscaling.spare_servers),
            parts=parts_of_a_gpu(settings),
            pull_config=pull_config,
            cluster_name=cluster.name,
            region=settings.aws.region,
            vpc_id=network.vpc_id,
            volumes_key_arn=cluster.volumes_key_arn,
            certificates=proving_zone is not None,
            traces=settings.monitoring.traces,
            cached=bool(settings.gateway.cache and settings.gateway.cache.redis),
        ),
    )
    ready = (platform,)
    shelves = KubernetesModelStore(
        context,
        KubernetesModelStoreArgs(
            settings=settings.model_store,
            mirror=mirror,
            priority_class=platform.priority_classes[RequestClass.P2],
            depends_on=ready,
        ),
    )
    size = server_size(settings)
    stored, engine = store.stored[Site.PRIVATE], package.engines.get(Site.PRIVATE)
    args = ModelServerArgs(
        settings=settings.model_server,
        mirror=mirror,
        accelerator=settings.private_cluster.accelerator,
        kind=package.manifest.kind,
        entry_model=package.manifest.entry_model,
        vllm_arguments=_vllm_arguments(settings, package.manifest),
        package_uri=stored.uri,
        package_sha256=stored.sha256,
        aws_region=settings.aws.region,
        priority_class=platform.priority_classes[settings.model_server.request_class],
        slots=package.manifest.serving.slots,
        cpu=size.cpu,
        memory=size.memory,
        taints=gpu_taints(settings),
        spare_gpu=spare_gpu(settings),
        fabric=_fabric(settings),
        role_arn=federation.server_role_arn,
        redis_host=shelves.redis_host,
        mig=bool(settings.private_cluster.gpu_sharing and settings.private_cluster.gpu_sharing.mig),
        engine_host_code=engine is not None and engine.version_compatible,
        depends_on=(*ready, *store.objects),
        traces=settings.monitoring.traces,
    )
    server = ModelServer(context, args)
    if trial and package.canary and store.stored_trial:
        release = _on_trial(settings, args, package.canary.manifest, store.stored_trial, trial.servers)
        ModelServer(context, dataclasses.replace(release, account=server.account))
    KubernetesMonitoring(
        context,
        KubernetesMonitoringArgs(
            settings=settings.monitoring,
            mirror=mirror,
            accelerator=settings.private_cluster.accelerator,
            kind=package.manifest.kind,
            priority_class=platform.priority_classes[RequestClass.P1],
            classes=settings.gateway.classes.routes(()),
            notices=Notices(topic_arn, federation.alerts_role_arn, settings.aws.region),
            storage_class=platform.storage_class,
            servers=servers,
            depends_on=ready,
        ),
    )
    if proving_zone is not None:
        tls = _tls_by_acme(context, settings, federation, proving_zone, ready)
    return KubernetesGateway(
        context,
        KubernetesGatewayArgs(
            settings=settings.gateway,
            mirror=mirror,
            listen=listen(settings.gateway),
            tls=tls,
            runtime_dir=RUNTIME_DIR,
            cluster_kind=settings.private_cluster.kind,
            exposure=settings.exposure,
            client_cidrs=callers,
            aws_region=settings.aws.region,
            role_arn=federation.gateway_role_arn,
            envoy_yaml=table.apply(envoy_yaml),
            routing_json=table.apply(lambda found: found.model_dump_json()),
            priority_class=platform.priority_classes[RequestClass.P0],
            drain_s=max(DEREGISTERED_AFTER_S, ceil(package.manifest.serving.request_timeout_s)),
            keys={name: key for one in built for name, key in one.keys.items()},
            environment={name: value for one in built for name, value in one.gateway_environment.items()},
            azure_token=settings.private_cluster.kind == "aks" and any(one.admit for one in built),
            depends_on=ready,
        ),
    )


def _fabric(settings: StackSettings) -> Fabric:
    from components.model_server.group import Fabric, efa

    span, interfaces = settings.model_server.span, efa_of_a_server(settings)
    if interfaces:
        # As AWS's own examples ask for, of a whole node.
        return efa(interfaces, _HUGE_PAGES_MIB * settings.model_server.gpus // gpus_of_a_node(settings) // 2 * 2)
    return Fabric({name: str(count) for name, count in span.devices.items()} if span else {})


def _vllm_arguments(settings: StackSettings, manifest: Manifest) -> dict[str, Any]:
    if manifest.language is None:
        return {}
    here = manifest.language.spread(settings.model_server.nodes, settings.model_server.gpus)
    return vllm_serving.arguments(manifest, here.pipeline_parallel_size)


def _tls_by_acme(
    context: StackContext,
    settings: StackSettings,
    federation: AwsFederation,
    proving_zone: pulumi.Input[str],
    after: tuple[pulumi.Resource, ...],
) -> Tls:
    from components.gateway.issuer import GatewayCertificate, GatewayCertificateArgs
    from components.gateway.kubernetes import Tls

    assert settings.gateway.tls is not None
    assert settings.gateway.tls.cert_manager is not None
    assert federation.issuer_role_arn is not None
    chart = settings.private_cluster.cert_manager
    made = GatewayCertificate(
        context,
        GatewayCertificateArgs(
            settings=settings.gateway.tls.cert_manager,
            host=settings.dns.host,
            region=settings.aws.region,
            zone_id=proving_zone,
            role_arn=federation.issuer_role_arn,
            cert_manager=(chart.namespace, chart.service_account),
            depends_on=after,
        ),
    )
    return Tls(secret_name=made.secret_name)


def _on_trial(
    settings: StackSettings, args: ModelServerArgs, release: Manifest, stored: StoredContent, servers: int
) -> ModelServerArgs:
    """The same server, with a release beside the package that serves."""
    return dataclasses.replace(
        args,
        name=CANARY,
        trial_servers=servers,
        package_uri=stored.uri,
        package_sha256=stored.sha256,
        vllm_arguments=_vllm_arguments(settings, release),
        slots=release.serving.slots,
    )


def _balancer_networks(settings: StackSettings) -> list[str]:
    """Where EKS's load balancer stands: it hands clients' addresses on, and asks for health from its own."""
    if not isinstance(settings.private_cluster, EksSettings):
        return []
    private, public = subnet_cidrs(settings.connectivity.vpc_cidr)
    return public if settings.exposure == "public" else private
