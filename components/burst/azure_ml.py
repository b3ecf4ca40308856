"""The burst site on Azure Machine Learning: a workspace without public access, online and batch endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pulumi
from pulumi_azure_native import (
    applicationinsights,
    authorization,
    containerregistry,
    keyvault,
    managedidentity,
    monitor,
    operationalinsights,
    resources,
    storage,
)
from pulumi_azure_native import (
    machinelearningservices as ml,
)

from components.base import Component, StackContext
from components.burst.settings import AzureMlBatch, AzureMlSettings
from components.connectivity.azure_network import private_endpoint
from components.model_store.azure import storage_account_name
from spillway.contracts.manifest import Manifest
from spillway.contracts.targets import Layout

ENDPOINT_API_VERSION: Final = "2024-10-01"
"""API version of the traffic step. Source: Microsoft.MachineLearningServices workspaces/onlineEndpoints reference."""

ROLES: Final = {
    "blob-contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "acr-pull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "vault-secrets-user": "4633458b-17de-408a-b874-0445c86b69e6",
    "metrics-publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "workspace-data-scientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
}
"""Built-in role ids. Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles."""


@dataclass(frozen=True)
class AzureMlArgs:
    """``store_*``: the model store's account and container; ``model_folder``: what Azure ML serves, in it. ``uploads``:
    its blobs.

    ``manifest`` gives concurrency and timeout, whose defaults on Azure (one request, five seconds) serve nobody.
    ``live_instances``: instances that run now, so that an update keeps scaled-out capacity; ``None`` for a first one.
    ``public_endpoint``: the scoring endpoint is called over the Internet with its key; the workspace never is public.
    """

    settings: AzureMlSettings
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    tenant_id: str
    endpoints_subnet_id: pulumi.Input[str]
    zone_ids: dict[str, pulumi.Output[str]]
    manifest: Manifest
    store_account_name: pulumi.Input[str]
    store_account_id: pulumi.Input[str]
    store_container_name: pulumi.Input[str]
    model_folder: str
    uploads: tuple[pulumi.Resource, ...] = ()
    live_instances: int | None = None
    public_endpoint: bool = False


class AzureMlBurst(Component):
    """Outputs: ``endpoint_name``, ``endpoint_id``, ``host``, ``key`` (secret), ``batch_endpoint_name``."""

    def __init__(self, context: StackContext, args: AzureMlArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("burst_azure_ml", context, opts)
        self.args = args
        self._endpoint_access = "Enabled" if args.public_endpoint else "Disabled"
        self.identity = managedidentity.UserAssignedIdentity(
            f"{context.prefix}-azureml",
            resource_group_name=args.resource_group_name,
            location=args.location,
            resource_name_=f"{context.prefix}-azureml",
            tags=context.tags,
            opts=self.child(),
        )
        self.logs = self._log_workspace()
        self.workspace = self._workspace()
        self.workspace_name = self.workspace.name
        self.workspace_id = self.workspace.id
        private_endpoint(
            self,
            "azureml",
            resource_group_name=args.resource_group_name,
            location=args.location,
            subnet_id=args.endpoints_subnet_id,
            target_id=self.workspace.id,
            group_id="amlworkspace",
            zones={short: args.zone_ids[short] for short in ("api", "notebooks")},
        )
        self.model = self._model()
        endpoint = self._endpoint()
        self.endpoint_name = endpoint.name
        self.endpoint_id = endpoint.id
        self.host = endpoint.name.apply(lambda name: f"{name}.{args.location}.inference.ml.azure.com")
        deployment = self._deployment(endpoint)
        self.traffic = self._traffic(endpoint, deployment)
        self.autoscale_id = self._autoscale(deployment).id
        self._diagnostics(endpoint)
        self.key: pulumi.Output[str] = pulumi.Output.secret(self._key(endpoint, deployment))
        self.batch_endpoint_name = self._batch(args.settings.batch) if args.settings.batch else None
        self.register_outputs({"endpoint_name": self.endpoint_name, "host": self.host})

    def _log_workspace(self) -> operationalinsights.Workspace:
        args = self.args
        return operationalinsights.Workspace(
            f"{self.context.prefix}-azureml-logs",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=f"{self.context.prefix}-azureml-logs",
            sku=operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
            retention_in_days=args.settings.log_retention_days,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _workspace(self) -> ml.Workspace:
        args = self.args
        insights = applicationinsights.Component(
            f"{self.context.prefix}-azureml-insights",
            resource_group_name=args.resource_group_name,
            location=args.location,
            resource_name_=f"{self.context.prefix}-azureml-insights",
            application_type="web",
            kind="web",
            ingestion_mode="LogAnalytics",
            workspace_resource_id=self.logs.id,
            disable_local_auth=True,
            tags=self.context.tags,
            opts=self.child(),
        )
        account, vault, registry = self._storage(), self._vault(), self._registry()
        grants = [
            self._grant("storage", "blob-contributor", account.id),
            self._grant("models", "blob-contributor", args.store_account_id),
            self._grant("registry", "acr-pull", registry.id),
            self._grant("vault", "vault-secrets-user", vault.id),
            self._grant("insights", "metrics-publisher", insights.id),
        ]
        return ml.Workspace(
            f"{self.context.prefix}-azureml-workspace",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=f"{self.context.prefix}-azureml",
            friendly_name=f"{self.context.prefix} burst",
            kind="Default",
            sku=ml.SkuArgs(name="Basic", tier=ml.SkuTier.BASIC),
            identity=self._identity(),
            primary_user_assigned_identity=self.identity.id,
            storage_account=account.id,
            key_vault=vault.id,
            container_registry=registry.id,
            application_insights=insights.id,
            public_network_access="Disabled",
            managed_network=ml.ManagedNetworkSettingsArgs(isolation_mode="AllowOnlyApprovedOutbound"),
            system_datastores_auth_mode="identity",
            v1_legacy_mode=False,
            hbi_workspace=True,
            tags=self.context.tags,
            opts=self.child(holds_data=True, depends_on=grants),
        )

    def _identity(self) -> ml.ManagedServiceIdentityArgs:
        return ml.ManagedServiceIdentityArgs(
            type=ml.ManagedServiceIdentityType.USER_ASSIGNED, user_assigned_identities=[self.identity.id]
        )

    def _storage(self) -> storage.StorageAccount:
        args = self.args
        account = storage.StorageAccount(
            f"{self.context.prefix}-azureml-storage",
            resource_group_name=args.resource_group_name,
            location=args.location,
            account_name=storage_account_name(self.context.prefix, args.subscription_id, "ml"),
            kind=storage.Kind.STORAGE_V2,
            sku=storage.SkuArgs(name=storage.SkuName.STANDARD_ZRS),
            allow_blob_public_access=False,
            allow_shared_key_access=False,
            default_to_o_auth_authentication=True,
            enable_https_traffic_only=True,
            minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
            public_network_access="Disabled",
            network_rule_set=storage.NetworkRuleSetArgs(
                default_action=storage.DefaultAction.DENY, bypass="AzureServices"
            ),
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )
        for group in ("blob", "file"):
            self._private(f"azureml-{group}", account.id, group, group)
        return account

    def _vault(self) -> keyvault.Vault:
        args = self.args
        vault = keyvault.Vault(
            f"{self.context.prefix}-azureml-vault",
            resource_group_name=args.resource_group_name,
            location=args.location,
            vault_name=storage_account_name(self.context.prefix, args.subscription_id, "kv"),
            properties=keyvault.VaultPropertiesArgs(
                tenant_id=args.tenant_id,
                sku=keyvault.SkuArgs(family="A", name=keyvault.SkuName.STANDARD),
                enable_rbac_authorization=True,
                enable_purge_protection=True,
                enable_soft_delete=True,
                soft_delete_retention_in_days=90,
                public_network_access="disabled",
                network_acls=keyvault.NetworkRuleSetArgs(default_action="Deny", bypass="AzureServices"),
            ),
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )
        self._private("azureml-vault", vault.id, "vault", "vault")
        return vault

    def _registry(self) -> containerregistry.Registry:
        args = self.args
        registry = containerregistry.Registry(
            f"{self.context.prefix}-azureml-registry",
            resource_group_name=args.resource_group_name,
            location=args.location,
            registry_name=storage_account_name(self.context.prefix, args.subscription_id, "acr"),
            sku=containerregistry.SkuArgs(name=args.settings.registry_sku),
            admin_user_enabled=False,
            anonymous_pull_enabled=False,
            public_network_access="Disabled",
            network_rule_bypass_options="AzureServices",
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )
        self._private("azureml-registry", registry.id, "registry", "registry")
        return registry

    def _private(self, name: str, target_id: pulumi.Input[str], group_id: str, zone: str) -> None:
        args = self.args
        private_endpoint(
            self,
            name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            subnet_id=args.endpoints_subnet_id,
            target_id=target_id,
            group_id=group_id,
            zones={zone: args.zone_ids[zone]},
        )

    def _grant(self, name: str, role: str, scope: pulumi.Input[str]) -> authorization.RoleAssignment:
        subscription = f"/subscriptions/{self.args.subscription_id}"
        definition = f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role]}"
        return authorization.RoleAssignment(
            f"{self.context.prefix}-azureml-{name}-{role}",
            scope=scope,
            principal_id=self.identity.principal_id,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL,
            role_definition_id=definition,
            opts=self.child(),
        )

    def _model(self) -> ml.ModelVersion:
        """The package's Triton repository, in place in the model store: Azure ML copies nothing."""
        args = self.args
        datastore = ml.Datastore(
            f"{self.context.prefix}-azureml-datastore",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name="spillway_models",
            properties=ml.AzureBlobDatastoreArgs(
                datastore_type="AzureBlob",
                account_name=args.store_account_name,
                container_name=args.store_container_name,
                credentials=ml.NoneDatastoreCredentialsArgs(credentials_type="None"),
                service_data_access_auth_identity="WorkspaceUserAssignedIdentity",
            ),
            opts=self.child(),
        )
        container = ml.ModelContainer(
            f"{self.context.prefix}-azureml-model",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name=args.manifest.name,
            properties=ml.ModelContainerPropertiesArgs(description=f"{args.manifest.source.name} by Spillway"),
            opts=self.child(),
        )
        uri = pulumi.Output.concat(
            "azureml:/", self.workspace.id, "/datastores/", datastore.name, "/paths/", args.model_folder
        )
        return ml.ModelVersion(
            f"{self.context.prefix}-azureml-model-version",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name=container.name,
            version=args.manifest.version,
            properties=ml.ModelVersionPropertiesArgs(
                model_type="triton_model",
                model_uri=uri.apply(_datastore_uri),
                properties={"digest": args.manifest.digest},
                tags={"variant": args.manifest.served[Layout.AZURE_ML]},
            ),
            opts=self.child(depends_on=list(args.uploads)),
        )

    def _endpoint(self) -> ml.OnlineEndpoint:
        args = self.args
        return ml.OnlineEndpoint(
            f"{self.context.prefix}-azureml-endpoint",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self.workspace.name,
            endpoint_name=f"{self.context.prefix}-burst",
            kind="Managed",
            identity=self._identity(),
            properties=ml.OnlineEndpointPropertiesArgs(
                auth_mode=ml.EndpointAuthMode.KEY,
                description=self._endpoint_description,
                public_network_access=self._endpoint_access,
            ),
            tags=self.context.tags,
            # Traffic is a step of its own, after the deployment that it names.
            opts=self.child(ignore_changes=["properties.traffic", "properties.mirrorTraffic"]),
        )

    def _deployment(self, endpoint: ml.OnlineEndpoint) -> ml.OnlineDeployment:
        args, settings, serving = self.args, self.args.settings, self.args.manifest.serving
        concurrency = settings.max_concurrent_requests_per_instance or serving.max_concurrency
        timeout_s = min(settings.request_timeout_s or serving.request_timeout_s, 180.0)
        probe = ml.ProbeSettingsArgs(
            initial_delay="PT10S", period="PT10S", timeout="PT2S", failure_threshold=30, success_threshold=1
        )
        return ml.OnlineDeployment(
            f"{self.context.prefix}-azureml-deployment",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self.workspace.name,
            endpoint_name=endpoint.name,
            deployment_name=settings.deployment_name,
            kind="Managed",
            identity=self._identity(),
            sku=ml.SkuArgs(
                name="Default",
                tier=ml.SkuTier.STANDARD,
                capacity=args.live_instances or settings.initial_instances or settings.min_instances,
            ),
            properties=ml.ManagedOnlineDeploymentArgs(
                endpoint_compute_type="Managed",
                model=self.model.id,
                environment_id=self._environment(),
                instance_type=settings.vm_size,
                egress_public_network_access="Disabled",
                app_insights_enabled=True,
                request_settings=ml.OnlineRequestSettingsArgs(
                    max_concurrent_requests_per_instance=concurrency,
                    request_timeout=f"PT{timeout_s:g}S",
                    max_queue_wait="PT0.5S",
                ),
                liveness_probe=probe,
                readiness_probe=probe,
                scale_settings=ml.DefaultScaleSettingsArgs(scale_type="Default"),
            ),
            tags=self.context.tags,
            # Autoscale owns the number of instances once the deployment is there.
            opts=self.child(ignore_changes=["sku.capacity"]),
        )

    def _environment(self) -> pulumi.Output[str] | None:
        """An image of the team's own; without one Azure ML serves Triton models with its own Triton image."""
        args = self.args
        if args.settings.container_image is None:
            return None
        container = ml.EnvironmentContainer(
            f"{self.context.prefix}-azureml-environment",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name="triton",
            properties=ml.EnvironmentContainerPropertiesArgs(description="Triton"),
            opts=self.child(),
        )
        routes = {"liveness": "/v2/health/live", "readiness": "/v2/health/ready", "scoring": "/"}
        version = ml.EnvironmentVersion(
            f"{self.context.prefix}-azureml-environment-version",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name=container.name,
            version="1",
            properties=ml.EnvironmentVersionPropertiesArgs(
                image=args.settings.container_image,
                inference_config=ml.InferenceContainerPropertiesArgs(
                    liveness_route=ml.RouteArgs(path=routes["liveness"], port=8000),
                    readiness_route=ml.RouteArgs(path=routes["readiness"], port=8000),
                    scoring_route=ml.RouteArgs(path=routes["scoring"], port=8000),
                ),
            ),
            opts=self.child(),
        )
        return version.id

    @property
    def _endpoint_description(self) -> str:
        return f"Overflow of {self.context.prefix}"

    def _traffic(self, endpoint: ml.OnlineEndpoint, deployment: ml.OnlineDeployment) -> resources.Deployment:
        """Split and mirror, once the deployment exists. The provider has no resource for it, so ARM deploys it."""
        args, settings = self.args, self.args.settings

        def template(values: dict[str, Any]) -> dict[str, Any]:
            return {
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "resources": [
                    {
                        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
                        "apiVersion": ENDPOINT_API_VERSION,
                        "name": f"{values['workspace']}/{values['endpoint']}",
                        "location": args.location,
                        "kind": "Managed",
                        "tags": self.context.tags,
                        "identity": {"type": "UserAssigned", "userAssignedIdentities": {values["identity"]: {}}},
                        "properties": {
                            "authMode": "Key",
                            "description": self._endpoint_description,
                            "publicNetworkAccess": self._endpoint_access,
                            "traffic": settings.serving_traffic,
                            "mirrorTraffic": settings.mirror_traffic,
                        },
                    }
                ],
            }

        names = pulumi.Output.all(
            workspace=self.workspace.name, endpoint=endpoint.name, identity=self.identity.id, deployment=deployment.name
        )
        return resources.Deployment(
            f"{self.context.prefix}-azureml-traffic",
            resource_group_name=args.resource_group_name,
            deployment_name=f"{self.context.prefix}-traffic",
            properties=resources.DeploymentPropertiesArgs(
                mode=resources.DeploymentMode.INCREMENTAL, template=names.apply(template)
            ),
            tags=self.context.tags,
            opts=self.child(depends_on=[deployment]),
        )

    def _autoscale(self, deployment: ml.OnlineDeployment) -> monitor.AutoscaleSetting:
        settings, rules = self.args.settings, self.args.settings.autoscaling

        def rule(
            direction: monitor.ScaleDirection, operator: monitor.ComparisonOperationType, percent: float
        ) -> monitor.ScaleRuleArgs:
            return monitor.ScaleRuleArgs(
                metric_trigger=monitor.MetricTriggerArgs(
                    metric_name="GpuUtilizationPercentage",
                    metric_resource_uri=deployment.id,
                    operator=operator,
                    statistic=monitor.MetricStatisticType.AVERAGE,
                    threshold=percent,
                    time_aggregation=monitor.TimeAggregationType.AVERAGE,
                    time_grain="PT1M",
                    time_window=f"PT{rules.window_minutes}M",
                ),
                scale_action=monitor.ScaleActionArgs(
                    cooldown=f"PT{rules.cooldown_minutes}M",
                    direction=direction,
                    type=monitor.ScaleType.CHANGE_COUNT,
                    value="1",
                ),
            )

        return monitor.AutoscaleSetting(
            f"{self.context.prefix}-azureml-autoscale",
            resource_group_name=self.args.resource_group_name,
            location=self.args.location,
            autoscale_setting_name=f"{self.context.prefix}-azureml",
            enabled=True,
            target_resource_uri=deployment.id,
            profiles=[
                monitor.AutoscaleProfileArgs(
                    name="gpu",
                    capacity=monitor.ScaleCapacityArgs(
                        minimum=str(settings.min_instances),
                        maximum=str(settings.max_instances),
                        default=str(settings.min_instances),
                    ),
                    rules=[
                        rule(
                            monitor.ScaleDirection.INCREASE,
                            monitor.ComparisonOperationType.GREATER_THAN,
                            rules.scale_out_above_percent,
                        ),
                        rule(
                            monitor.ScaleDirection.DECREASE,
                            monitor.ComparisonOperationType.LESS_THAN,
                            rules.scale_in_below_percent,
                        ),
                    ],
                )
            ],
            tags=self.context.tags,
            # The cost guard switches it off while spill is closed; an update does not switch it on again.
            opts=self.child(ignore_changes=["enabled"]),
        )

    def _diagnostics(self, endpoint: ml.OnlineEndpoint) -> None:
        categories = ("AmlOnlineEndpointTrafficLog", "AmlOnlineEndpointConsoleLog", "AmlOnlineEndpointEventLog")
        monitor.DiagnosticSetting(
            f"{self.context.prefix}-azureml-diagnostics",
            name="spillway",
            resource_uri=endpoint.id,
            workspace_id=self.logs.id,
            logs=[monitor.DiagnosticsLogSettingsArgs(category=category, enabled=True) for category in categories],
            metrics=[monitor.DiagnosticsMetricSettingsArgs(category="AllMetrics", enabled=True)],
            opts=self.child(),
        )

    def _key(self, endpoint: ml.OnlineEndpoint, deployment: ml.OnlineDeployment) -> pulumi.Output[str]:
        # The deployment's name is asked for only to wait for it: keys of an endpoint without one answer nothing.
        names = pulumi.Output.all(endpoint.name, deployment.name)
        keys = ml.list_online_endpoint_keys_output(
            endpoint_name=names.apply(lambda found: found[0]),
            resource_group_name=self.args.resource_group_name,
            workspace_name=self.workspace.name,
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return keys.apply(lambda found: found.primary_key or "")

    def _batch(self, batch: AzureMlBatch) -> pulumi.Output[str]:
        args = self.args
        cluster = ml.Compute(
            f"{self.context.prefix}-azureml-batch-cluster",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self.workspace.name,
            compute_name="batch",
            identity=self._identity(),
            properties=ml.AmlComputeArgs(
                compute_type="AmlCompute",
                disable_local_auth=True,
                properties=ml.AmlComputePropertiesArgs(
                    vm_size=batch.vm_size,
                    vm_priority="LowPriority" if batch.low_priority else "Dedicated",
                    enable_node_public_ip=False,
                    remote_login_port_public_access="Disabled",
                    os_type="Linux",
                    scale_settings=ml.ScaleSettingsArgs(
                        min_node_count=batch.min_nodes,
                        max_node_count=batch.max_nodes,
                        node_idle_time_before_scale_down=f"PT{batch.idle_seconds}S",
                    ),
                ),
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        endpoint = ml.BatchEndpoint(
            f"{self.context.prefix}-azureml-batch",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self.workspace.name,
            endpoint_name=f"{self.context.prefix}-batch",
            identity=self._identity(),
            properties=ml.BatchEndpointPropertiesArgs(
                auth_mode=ml.EndpointAuthMode.AAD_TOKEN,
                description=f"P2 work of {self.context.prefix}",
                defaults=ml.BatchEndpointDefaultsArgs(deployment_name="p2"),
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        ml.BatchDeployment(
            f"{self.context.prefix}-azureml-batch-deployment",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self.workspace.name,
            endpoint_name=endpoint.name,
            deployment_name="p2",
            identity=self._identity(),
            properties=ml.BatchDeploymentPropertiesArgs(
                compute=cluster.id,
                model=ml.IdAssetReferenceArgs(asset_id=self.model.id, reference_type="Id"),
                mini_batch_size=float(batch.mini_batch_size),
                max_concurrency_per_instance=batch.max_concurrency_per_instance,
                output_action=ml.BatchOutputAction.APPEND_ROW,
                retry_settings=ml.BatchRetrySettingsArgs(max_retries=batch.retries, timeout="PT5M"),
                resources=ml.DeploymentResourceConfigurationArgs(instance_count=max(1, batch.max_nodes)),
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        return endpoint.name


def _datastore_uri(workspace_path: str) -> str:
    """``azureml://subscriptions/…/datastores/…`` from the workspace's ARM id, whose provider part it leaves out."""
    return workspace_path.replace("/resourceGroups/", "/resourcegroups/").replace(
        "/providers/Microsoft.MachineLearningServices/", "/"
    )
