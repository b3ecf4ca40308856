"""From the site's settings and what stands around it to its resources, and to what the stack needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final, Protocol

import pulumi

from components.azure_caller import MAY_ASK_FOR_TOKENS, AzureCaller, AzureCallerArgs
from components.burst.azure_ml.component import AzureMlBurst, OnlineDeployment
from components.burst.azure_ml.settings import AzureMlSettings
from components.burst.azure_ml.workspace import AzureMlArgs
from components.burst.site import (
    AzureSubscription,
    AzureSurroundings,
    BuiltSite,
    BurstSite,
    GatewayIdentity,
    Surroundings,
    Watch,
)
from components.cost_guard.capacity import HeldCapacity, SiteCapacity
from components.model_store.azure import AzureModelStore, AzureModelStoreArgs
from components.model_store.azure_courier import PackageCourier, PackageCourierArgs
from components.model_store.content import package_prefix
from components.monitoring.azure import AzureMonitoring, AzureMonitoringArgs
from spillway.contracts.azure_calls import API_VERSIONS, CLIENT_VARIABLE, TENANT_VARIABLE, Caller
from spillway.contracts.classes import RequestClass
from spillway.contracts.function_config import AzureMachines, AzureSource, HeldDeployment
from spillway.contracts.names import AZURE_MANAGER_URL

FUNCTIONS: Final = "spillway.runtime.functions.azure_ml"


class AzureMlSite(BurstSite, Protocol):
    """What is asked here of the site's object, which itself calls :func:`build`."""

    @property
    def settings(self) -> AzureMlSettings: ...
    @property
    def subscription(self) -> AzureSubscription: ...


def build(site: AzureMlSite, around: Surroundings) -> BuiltSite:
    azure = around.azure
    assert azure is not None
    store = _store(site, around, azure)
    burst = _burst(site, around, azure, store)
    caller = _caller("gateway", site, burst, {"endpoint": burst.endpoint_id})
    return BuiltSite(
        site=site,
        address=burst.host,
        outputs={
            "azure_ml": burst.endpoint_name,
            "azure_ml_host": burst.host,
        },
        capacity=_capacity(site, burst),
        watch=_watch(site, burst, around, azure),
        gateway_rights=pulumi.Output.from_input([MAY_ASK_FOR_TOKENS]),
        gateway_environment={TENANT_VARIABLE: site.subscription.tenant_id, CLIENT_VARIABLE: caller.client_id},
        admit=partial(_admit, caller),
    )


def _admit(caller: AzureCaller, gateway: GatewayIdentity) -> None:
    if gateway.issuer_url is None:
        caller.trust(gateway.role_arn, gateway.name)
    else:
        caller.trust_account(gateway.issuer_url, gateway.account, gateway.name)


def _store(site: AzureMlSite, around: Surroundings, azure: AzureSurroundings) -> AzureModelStore:
    return AzureModelStore(
        around.context,
        AzureModelStoreArgs(
            settings=around.model_store.azure,
            resource_group_name=azure.resource_group_name,
            location=site.region,
            subscription_id=site.subscription.subscription_id,
            endpoints_subnet_id=azure.network.endpoints_subnet_id,
            zone_ids=azure.network.zone_ids,
        ),
    )


def _carried(
    site: AzureMlSite, around: Surroundings, azure: AzureSurroundings, store: AzureModelStore
) -> pulumi.Input[str]:
    """The folder of the package in the store, known once it is there."""
    manifest = around.manifest
    folder = f"{package_prefix(manifest.name, manifest.version)}{around.contents[site.name].key}".rstrip("/")
    subnet_id = azure.network.courier_subnet_id
    if not around.model_store.upload_package or subnet_id is None:
        return folder
    courier = PackageCourier(
        around.context,
        PackageCourierArgs(
            settings=around.model_store.courier,
            mirror=around.connectivity.mirror,
            resource_group_name=azure.resource_group_name,
            location=site.region,
            subscription_id=site.subscription.subscription_id,
            tenant_id=site.subscription.tenant_id,
            subnet_id=subnet_id,
            version=manifest.version,
            folder=folder,
            account_name=store.account_name,
            container_name=store.container_name,
            container_id=store.container_id,
            aws_region=around.aws_store.args.region,
            bucket_name=around.aws_store.bucket_name,
            bucket_arn=around.aws_store.bucket_arn,
            bucket_key_arn=around.aws_store.kms_key_arn,
            uploads=tuple(around.aws_store.objects),
            after=(store.endpoint,),
        ),
    )
    return courier.folder


def _burst(site: AzureMlSite, around: Surroundings, azure: AzureSurroundings, store: AzureModelStore) -> AzureMlBurst:
    return AzureMlBurst(
        around.context,
        AzureMlArgs(
            settings=site.settings,
            resource_group_name=azure.resource_group_name,
            location=site.region,
            subscription_id=site.subscription.subscription_id,
            tenant_id=site.subscription.tenant_id,
            endpoints_subnet_id=azure.network.endpoints_subnet_id,
            zone_ids=azure.network.zone_ids,
            manifest=around.manifest,
            store_account_name=store.account_name,
            store_account_id=store.account_id,
            store_container_name=store.container_name,
            model_key=around.contents[site.name].key,
            package_folder=_carried(site, around, azure, store),
            public_endpoint=around.connectivity.burst_egress == "public_with_key",
        ),
    )


def _capacity(site: AzureMlSite, burst: AzureMlBurst) -> SiteCapacity:
    on_endpoint: dict[str, pulumi.Input[str]] = {"endpoint": burst.endpoint_id}
    reader = _caller("cost signal", site, burst, on_endpoint)
    settings = {one.planned.name: one.autoscale_id for one in burst.online}
    scaler = _caller("cut-off", site, burst, {**on_endpoint, **settings})
    addresses = [_address(one.id, "deployments") for one in burst.online]
    percents = [one.planned.traffic for one in burst.online]

    def admit(signal_role: pulumi.Output[str], cutoff_role: pulumi.Output[str]) -> None:
        reader.trust(signal_role)
        scaler.trust(cutoff_role)

    return SiteCapacity(
        site=site.name,
        module=FUNCTIONS,
        machines=site.machines(),
        asked=pulumi.Output.all(reader.identity, *addresses).apply(lambda found: _source(found, percents)),
        may_read=[MAY_ASK_FOR_TOKENS],
        held=tuple(_held(scaler, one) for one in burst.online),
        may_hold=[MAY_ASK_FOR_TOKENS],
        admit=admit,
    )


def _caller(
    caller: Caller, site: AzureMlSite, burst: AzureMlBurst, scopes: Mapping[str, pulumi.Input[str]]
) -> AzureCaller:
    at = site.subscription
    group = burst.args.resource_group_name
    args = AzureCallerArgs(caller, group, at.location, at.subscription_id, at.tenant_id, scopes)
    return AzureCaller(burst.context, args)


def _address(id_: pulumi.Output[str], kind: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(AZURE_MANAGER_URL, id_, f"?api-version={API_VERSIONS[kind]}")


def _held(scaler: AzureCaller, one: OnlineDeployment) -> HeldCapacity:
    addresses = (_address(one.id, "deployments"), _address(one.autoscale_id, "autoscaleSettings"))
    asked = pulumi.Output.all(scaler.identity, *addresses).apply(lambda found: asdict(HeldDeployment(*found)))
    return HeldCapacity(one.planned.min_instances, RequestClass.P0, asked)


def _source(found: list[Any], percents: list[int]) -> dict[str, object]:
    identity, *deployments = found
    machines = [
        AzureMachines(url=one, count=("sku", "capacity"), size=("properties", "instanceType"), percent=percent)
        for one, percent in zip(deployments, percents, strict=True)
    ]
    return asdict(AzureSource(identity, tuple(machines)))


def _watch(site: AzureMlSite, burst: AzureMlBurst, around: Surroundings, azure: AzureSurroundings) -> Watch:
    watched = AzureMonitoring(
        around.context,
        AzureMonitoringArgs(
            settings=around.monitoring,
            resource_group_name=azure.resource_group_name,
            location=site.region,
            tenant_id=site.subscription.tenant_id,
            endpoint_id=burst.endpoint_id,
            deployment_ids={one.planned.name: one.id for one in burst.online},
            notify_emails=around.cost_guard.notify_emails,
            depends_on=(burst,),
        ),
    )
    return Watch(
        alarm_names={f"azure-{name}": alarm for name, alarm in watched.alarm_names.items()},
        dashboard_url=watched.dashboard_url,
        action_group_id=watched.action_group_id,
    )
