"""Rules between the parts of a stack file. Each one is a function from the settings to what is wrong with them.

Nothing here imports a provider SDK: a faulty file is refused before one is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from components.burst.images import ImageError, image
from components.cost_guard.settings import instance_price
from components.failover_dns.settings import Route53Settings, TrafficManagerSettings
from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings
from spillway.contracts.classes import Site
from spillway.contracts.manifest import Manifest
from spillway.contracts.prices import HOURS_PER_MONTH, Cloud, PriceError
from stacks.errors import NAMESPACE, SECRETS_NAMESPACE, Problem, nearest
from stacks.regions import AZURE_LOCATIONS, aws_regions
from stacks.support import cell

if TYPE_CHECKING:
    from stacks.settings import StackSettings

ROOT: Final = Path(__file__).resolve().parent.parent


def problems_between(settings: StackSettings) -> list[Problem]:
    """What is wrong between the parts. Regions come first: with a wrong one, nothing else can be judged."""
    return _all(REGION_RULES, settings) or _all(RULES, settings)


def problems_with_package(settings: StackSettings, manifest: Manifest) -> list[Problem]:
    """What the sites cannot serve of this package."""
    found = (_container, _azure_serves_triton, _sites_have_layouts)
    return [problem for rule in found for problem in rule(settings, manifest)]


def missing_secrets(settings: StackSettings, present: frozenset[str]) -> list[Problem]:
    """Secrets that the settings name and the stack does not have."""
    return [
        Problem(
            f"{SECRETS_NAMESPACE}:{name}",
            "nothing",
            f"{key} names this secret; set it with `pulumi config set --secret {SECRETS_NAMESPACE}:{name}`",
        )
        for name, key in required_secrets(settings).items()
        if name not in present
    ]


def required_secrets(settings: StackSettings) -> dict[str, str]:
    """Names of the stack secrets that these settings use, with the key that names each."""
    wanted: dict[str, str] = {}
    cluster, connectivity = settings.private_cluster, settings.connectivity
    if isinstance(cluster, ExistingSettings) and cluster.kubeconfig_secret:
        wanted[cluster.kubeconfig_secret] = _key("private_cluster.kubeconfig_secret")
    if connectivity.vpn is not None:
        wanted[connectivity.vpn.psk_secret] = _key("connectivity.vpn.psk_secret")
    if connectivity.mirror.pull_secret:
        wanted[connectivity.mirror.pull_secret] = _key("connectivity.mirror.pull_secret")
    wanted[settings.gateway.operator_key_secret] = _key("gateway.operator_key_secret")
    if settings.burst.azure_ml is not None:
        wanted[settings.cost_guard.azure_reader_secret] = _key("cost_guard.azure_reader_secret")
        if settings.cost_guard.azure_scaler_secret is not None:
            wanted.setdefault(settings.cost_guard.azure_scaler_secret, _key("cost_guard.azure_scaler_secret"))
    if isinstance(settings.dns, TrafficManagerSettings):
        wanted[settings.dns.switch_secret] = _key("dns.switch_secret")
    for index, client in enumerate(settings.gateway.clients):
        wanted[client.key_secret] = _key(f"gateway.clients[{index}].key_secret")
    return wanted


def _key(path: str) -> str:
    return f"{NAMESPACE}:{path}"


def _all(rules: tuple, settings: StackSettings) -> list[Problem]:
    return [problem for rule in rules for problem in rule(settings)]


def _aws_region(settings: StackSettings) -> Iterator[Problem]:
    given, known = settings.aws.region, aws_regions()
    if given not in known:
        yield Problem(_key("aws.region"), repr(given), f"{nearest(given, known)}allowed: {', '.join(sorted(known))}")


def _azure_location(settings: StackSettings) -> Iterator[Problem]:
    if settings.azure is None or settings.azure.location in AZURE_LOCATIONS:
        return
    given = settings.azure.location
    allowed = ", ".join(sorted(AZURE_LOCATIONS))
    yield Problem(_key("azure.location"), repr(given), f"{nearest(given, AZURE_LOCATIONS)}allowed: {allowed}")


def _azure_is_there(settings: StackSettings) -> Iterator[Problem]:
    if settings.azure is not None:
        return
    needs = {
        "burst.azure_ml": settings.burst.azure_ml is not None,
        "private_cluster.kind: aks": isinstance(settings.private_cluster, AksSettings),
        "dns.provider: traffic_manager": settings.dns.provider == "traffic_manager",
    }
    users = [name for name, used in needs.items() if used]
    if users:
        advice = f"{' and '.join(users)} cannot be without it: give location, subscription_id and tenant_id"
        yield Problem(_key("azure"), "nothing", advice)


def _supported(settings: StackSettings) -> Iterator[Problem]:
    found = cell(settings.private_cluster.kind, settings.burst_kind, settings.dns.provider)
    if found.refused:
        given = f"private_cluster {found.cluster}, burst {found.burst}, dns {found.dns}"
        yield Problem(_key("burst" if found.burst == "none" else "dns.provider"), given, found.refused)


def _traffic_manager_is_public(settings: StackSettings) -> Iterator[Problem]:
    if settings.dns.provider == "traffic_manager" and settings.exposure == "internal":
        advice = "Traffic Manager probes only from the Internet; use dns.provider: route53 or exposure: public"
        yield Problem(_key("dns.provider"), "traffic_manager with exposure: internal", advice)


def _standby_is_there(settings: StackSettings) -> Iterator[Problem]:
    if not settings.gateway.standby.enabled:
        advice = f"dns.provider: {settings.dns.provider} would have nothing to fail over to; set it to true"
        yield Problem(_key("gateway.standby.enabled"), "false", advice)


def _standby_has_a_certificate(settings: StackSettings) -> Iterator[Problem]:
    standby, dns = settings.gateway.standby, settings.dns
    provable = isinstance(dns, Route53Settings) and (settings.exposure == "public" or dns.certificate_zone_id)
    if not standby.enabled or standby.certificate_arn or provable:
        return
    why = "its zone is in Azure" if dns.provider == "traffic_manager" else "the zone of an internal stack is private"
    mend = "give the ARN of an ACM certificate of " + dns.host
    if isinstance(dns, Route53Settings):
        mend += ", or the public zone of the name as dns.certificate_zone_id"
    yield Problem(_key("gateway.standby.certificate_arn"), "nothing", f"ACM cannot prove the name, {why}; {mend}")


def _arns_are_in_the_region(settings: StackSettings) -> Iterator[Problem]:
    sagemaker = settings.burst.sagemaker
    arns = {
        "gateway.standby.certificate_arn": settings.gateway.standby.certificate_arn,
        "burst.sagemaker.kms_key_arn": sagemaker.kms_key_arn if sagemaker else None,
        "model_store.aws.kms_key_arn": settings.model_store.aws.kms_key_arn,
    }
    for name, arn in arns.items():
        if arn is not None and arn.split(":")[3] != settings.aws.region:
            advice = f"it has to be in aws.region, {settings.aws.region}"
            yield Problem(_key(name), repr(arn), f"{advice}; give one from there, or change the region")


def _zones_are_in_the_region(settings: StackSettings) -> Iterator[Problem]:
    region = settings.aws.region
    strange = [zone for zone in settings.connectivity.zones or () if not zone.startswith(region)]
    if strange:
        advice = f"allowed: zones of aws.region, e.g. [{region}a, {region}b, {region}c]; leave it out for these"
        yield Problem(_key("connectivity.zones"), ", ".join(strange), advice)


def _kubeconfig_is_there(settings: StackSettings) -> Iterator[Problem]:
    cluster = settings.private_cluster
    if not isinstance(cluster, ExistingSettings) or cluster.kubeconfig_path is None:
        return
    if not (ROOT / cluster.kubeconfig_path).is_file():
        advice = "there is no such file; give a path relative to the project, or use kubeconfig_secret"
        yield Problem(_key("private_cluster.kubeconfig_path"), repr(cluster.kubeconfig_path), advice)


def _existing_cluster_is_federated(settings: StackSettings) -> Iterator[Problem]:
    federation = settings.connectivity.federation
    if not isinstance(settings.private_cluster, ExistingSettings) or federation.oidc_issuer:
        return
    if federation.trust_anchor_pem is None:
        advice = (
            "pods of an existing cluster need AWS credentials: give oidc_issuer.url, the cluster's issuer of "
            "service-account tokens, or trust_anchor_pem, the CA of its client certificates"
        )
        yield Problem(_key("connectivity.federation"), "nothing", advice)


def _own_cluster_is_not_federated(settings: StackSettings) -> Iterator[Problem]:
    federation = settings.connectivity.federation
    given = "oidc_issuer" if federation.oidc_issuer else "trust_anchor_pem" if federation.trust_anchor_pem else None
    if given and not isinstance(settings.private_cluster, ExistingSettings):
        advice = f"the issuer of kind: {settings.private_cluster.kind} is known; remove it, or use kind: existing"
        yield Problem(_key(f"connectivity.federation.{given}"), "a value", advice)


def _whole_internet_only_when_public(settings: StackSettings) -> Iterator[Problem]:
    for index, cidr in enumerate(settings.client_cidrs):
        if settings.exposure == "internal" and IPv4Network(cidr).prefixlen == 0:
            advice = "with exposure: internal list the networks that need access, e.g. 10.0.0.0/8"
            yield Problem(_key(f"client_cidrs[{index}]"), repr(cidr), advice)


def instances(settings: StackSettings) -> Iterator[tuple[str, Cloud, str, str]]:
    """Key, price list, instance type and region of everything that is paid by the hour."""
    cluster, region = settings.private_cluster, settings.aws.region
    if isinstance(cluster, EksSettings):
        yield "private_cluster.gpu_pool.instance_type", "ec2", cluster.gpu_pool.instance_type, region
    if settings.burst.sagemaker is not None:
        yield "burst.sagemaker.instance_type", "sagemaker", settings.burst.sagemaker.instance_type, region
        waiting = settings.burst.sagemaker.asynchronous
        if waiting is not None:
            yield "burst.sagemaker.asynchronous.instance_type", "sagemaker", waiting.instance_type, region
    if settings.azure is None:
        return
    location = settings.azure.location
    if isinstance(cluster, AksSettings):
        yield "private_cluster.gpu_pool.vm_size", "azure", cluster.gpu_pool.vm_size, location
    if settings.burst.azure_ml is not None:
        yield "burst.azure_ml.vm_size", "azure", settings.burst.azure_ml.vm_size, location
        if settings.burst.azure_ml.batch is not None:
            yield "burst.azure_ml.batch.vm_size", "azure", settings.burst.azure_ml.batch.vm_size, location


def _instances_have_prices(settings: StackSettings) -> Iterator[Problem]:
    said: set[tuple[str, str]] = set()
    for key, cloud, instance_type, region in instances(settings):
        try:
            instance_price(settings.cost_guard, cloud, instance_type, region)
        except PriceError as error:
            # The same type twice is one mistake.
            if (cloud, instance_type) not in said:
                yield Problem(_key(key), repr(instance_type), str(error))
            said.add((cloud, instance_type))


def _gpus_of_a_node(settings: StackSettings) -> Iterator[Problem]:
    """What is counted with has to be what the machine has."""
    cluster = settings.private_cluster
    if isinstance(cluster, ExistingSettings):
        return
    for key, cloud, instance_type, region in instances(settings):
        if not key.startswith("private_cluster"):
            continue
        try:
            _, gpus = instance_price(settings.cost_guard, cloud, instance_type, region)
        except PriceError:
            continue
        given = cluster.gpu_pool.gpus_per_node
        if given != gpus:
            yield Problem(_key("private_cluster.gpu_pool.gpus_per_node"), str(given), f"{instance_type} has {gpus}")


def _servers_fit_the_cluster(settings: StackSettings) -> Iterator[Problem]:
    cluster, server = settings.private_cluster, settings.model_server
    per_node = cluster.gpus_per_node if isinstance(cluster, ExistingSettings) else cluster.gpu_pool.gpus_per_node
    nodes = cluster.nodes if isinstance(cluster, ExistingSettings) else cluster.gpu_pool.max_size
    if server.gpus > per_node:
        advice = f"a node of the private cluster has {per_node}, so no server would ever start; lower it"
        yield Problem(_key("model_server.gpus"), str(server.gpus), advice)
        return
    if server.gpus == 0:
        return
    room = per_node // server.gpus * nodes
    minimum = server.autoscaling.min_replicas
    if minimum > room:
        advice = f"the private cluster has room for {room} servers of {server.gpus} GPU; lower it, or add nodes"
        yield Problem(_key("model_server.autoscaling.min_replicas"), str(minimum), advice)


def _spill_targets_exist(settings: StackSettings) -> Iterator[Problem]:
    allowed: list[str] = []
    if settings.burst.sagemaker is not None:
        allowed += [Site.SAGEMAKER.value, settings.aws.region]
    if settings.burst.azure_ml is not None and settings.azure is not None:
        allowed += [Site.AZURE_ML.value, settings.azure.location]
    gateway = settings.gateway
    lists = {f"gateway.clients[{index}].may_spill": client.may_spill for index, client in enumerate(gateway.clients)}
    lists["gateway.model_may_spill"] = gateway.model_may_spill
    if gateway.anonymous is not None:
        lists["gateway.anonymous.may_spill"] = gateway.anonymous.may_spill
    for key, places in lists.items():
        for place in places if isinstance(places, tuple) else ():
            if place not in allowed:
                advice = f"{nearest(place, allowed)}allowed: anywhere, never, or a list of {', '.join(allowed)}"
                yield Problem(_key(key), repr(place), advice)


def _mirrors_are_addresses(settings: StackSettings) -> Iterator[Problem]:
    mirror = settings.connectivity.mirror
    for registry, address in mirror.images.items():
        if "://" in f"{registry}{address}":
            advice = "registries stand without a scheme, e.g. nvcr.io: registry.example.com/nvcr"
            yield Problem(_key(f"connectivity.mirror.images.{registry}"), repr(address), advice)
    for repository, address in mirror.charts.items():
        if not address.startswith(("https://", "oci://")):
            advice = "chart repositories are URLs, e.g. https://charts.example.com/nvidia"
            yield Problem(_key(f"connectivity.mirror.charts.{repository}"), repr(address), advice)


def _live_counts_have_a_site(settings: StackSettings) -> Iterator[Problem]:
    for site, on in (("sagemaker", settings.burst.sagemaker), ("azure_ml", settings.burst.azure_ml)):
        count = getattr(settings.live, f"{site}_instances")
        if count is not None and on is None:
            advice = f"burst.{site} is off; remove the key, or switch the site on"
            yield Problem(_key(f"live.{site}_instances"), str(count), advice)


def _ceilings_are_above_the_minimum(settings: StackSettings) -> Iterator[Problem]:
    """Below it, spill would be closed from the first minute on."""
    costs, burst = settings.cost_guard, settings.burst
    floor = 0.0
    try:
        if burst.sagemaker is not None:
            price, _ = instance_price(costs, "sagemaker", burst.sagemaker.instance_type, settings.aws.region)
            floor += price * burst.sagemaker.min_instances
        if burst.azure_ml is not None and settings.azure is not None:
            price, _ = instance_price(costs, "azure", burst.azure_ml.vm_size, settings.azure.location)
            floor += price * burst.azure_ml.min_instances
    except PriceError:
        return
    month = floor * HOURS_PER_MONTH
    if floor > costs.max_burst_usd_per_hour:
        advice = (
            f"the burst sites' smallest capacity costs {floor:.2f} an hour already; raise it, or lower min_instances"
        )
        yield Problem(_key("cost_guard.max_burst_usd_per_hour"), f"{costs.max_burst_usd_per_hour:g}", advice)
    elif month > costs.max_forecast_usd:
        advice = (
            f"the burst sites' smallest capacity costs {month:.0f} a month already; raise it, or lower min_instances"
        )
        yield Problem(_key("cost_guard.max_forecast_usd"), f"{costs.max_forecast_usd:g}", advice)


def _container(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    sagemaker = settings.burst.sagemaker
    if sagemaker is None or sagemaker.container_image is not None:
        return
    try:
        image(manifest.kind, settings.aws.region, sagemaker.container_version, sagemaker.inference_ami_version)
    except ImageError as error:
        advice = f"{error}. Or give container_image, e.g. a copy in your own registry"
        yield Problem(_key("burst.sagemaker.container_version"), repr(sagemaker.container_version), advice)


def _azure_serves_triton(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    if settings.burst.azure_ml is not None and manifest.kind != "triton":
        advice = f"Azure ML serves Triton packages, and {manifest.name} is for {manifest.kind}; remove burst.azure_ml"
        yield Problem(_key("burst.azure_ml"), f"a package of kind {manifest.kind}", advice)


def _sites_have_layouts(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    burst = settings.burst
    on = {Site.PRIVATE: True, Site.SAGEMAKER: burst.sagemaker is not None, Site.AZURE_ML: burst.azure_ml is not None}
    for site in (site for site, is_on in on.items() if is_on):
        layout = manifest.layout(site)
        if layout not in manifest.served:
            given = f"a package for {', '.join(sorted(manifest.served))}"
            advice = (
                f"the site {site} serves {layout}/, which {manifest.name} lacks; name a target that reads it in "
                "model.yaml and package the model again"
            )
            yield Problem(_key("package.path"), given, advice)


REGION_RULES = (_aws_region, _azure_location, _azure_is_there)
RULES = (
    _supported,
    _traffic_manager_is_public,
    _standby_is_there,
    _standby_has_a_certificate,
    _arns_are_in_the_region,
    _zones_are_in_the_region,
    _kubeconfig_is_there,
    _existing_cluster_is_federated,
    _own_cluster_is_not_federated,
    _whole_internet_only_when_public,
    _instances_have_prices,
    _gpus_of_a_node,
    _servers_fit_the_cluster,
    _spill_targets_exist,
    _mirrors_are_addresses,
    _live_counts_have_a_site,
    _ceilings_are_above_the_minimum,
)
