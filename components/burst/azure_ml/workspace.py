"""The Azure ML workspace without public access, and what it is made of: storage, vault, registry, telemetry, rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_azure_native import (
    applicationinsights,
    authorization,
    containerregistry,
    keyvault,
    managedidentity,
    storage,
)
from pulumi_azure_native import (
    machinelearningservices as ml,
)

from components.azure_logs import BLOBS, ML_WORKSPACE, REGISTRY, VAULT, log_workspace, send_logs
from components.azure_roles import in_force
from components.base import Component, StackContext, unique_name
from components.burst.azure_ml.settings import AzureMlSettings
from components.connectivity.azure_network import private_endpoint
from components.model_store.azure import storage_account_name
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.manifest import Manifest

_ROLES: Final = {
    "acr-pull": ROLES["AcrPull"],
    "blob-contributor": ROLES["Storage Blob Data Contributor"],
    "blob-reader": ROLES["Storage Blob Data Reader"],
    "contributor": ROLES["Contributor"],
    "metrics-publisher": ROLES["Monitoring Metrics Publisher"],
    "network-approver": ROLES["Azure AI Enterprise Network Connection Approver"],
    "vault-administrator": ROLES["Key Vault Administrator"],
}
"""As they end the names of their assignments."""


@dataclass(frozen=True)
class AzureMlArgs:
    """``store_*``: the model store's account and container; ``model_key``: what Azure ML serves of a package, below
    its prefix; ``package_folder``: the stack's own package's in the container, known once it is there.

    ``manifest`` gives concurrency and timeout, whose defaults on Azure (one request, five seconds) serve nobody.
    ``public_endpoint``: the scoring endpoint is called over the Internet; the workspace never is public.
    """

    settings: AzureMlSettings
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    tenant_id: str
    endpoints_subnet_id: pulumi.Input[str]
    zone_ids: Mapping[str, pulumi.Input[str]]
    manifest: Manifest
    store_account_name: pulumi.Input[str]
    store_account_id: pulumi.Input[str]
    store_container_name: pulumi.Input[str]
    model_key: str
    package_folder: pulumi.Input[str]
    public_endpoint: bool = False


class AzureMlWorkspace(Component):
    """Outputs: ``workspace``, ``serving_identity`` (of what serves in it: it may read models and images), ``logs``;
    ``ready``: what a deployment waits for."""

    def __init__(self, context: StackContext, args: AzureMlArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("burst-azure-ml-workspace", context, opts)
        self.args = args
        self.identity = self._identity("azureml")
        self.serving_identity = self._identity("azureml-serving")
        self._links: list[pulumi.Resource] = []
        self.logs = log_workspace(
            self,
            "azureml-logs",
            args.resource_group_name,
            args.location,
            "azureml-logs",
            args.settings.log_retention_days,
        )
        self.workspace = self._workspace()
        rights = [self._grant("workspace", "contributor", self.workspace.id), *self._serving_rights]
        self.ready: list[pulumi.Input[pulumi.Resource]] = [*rights, in_force(rights)]
        self._private("azureml", self.workspace.id, "amlworkspace", "api", "notebooks")
        self._send("workspace", self.workspace.id, ML_WORKSPACE)
        self._send("models", pulumi.Output.concat(args.store_account_id, "/blobServices/default"), BLOBS, "Transaction")
        self.register_outputs({"workspace_name": self.workspace.name})

    def _identity(self, name: str) -> managedidentity.UserAssignedIdentity:
        return managedidentity.UserAssignedIdentity(
            f"{self.context.prefix}-{name}",
            resource_group_name=self.args.resource_group_name,
            location=self.args.location,
            resource_name_=f"{self.context.prefix}-{name}",
            tags=self.context.tags,
            opts=self.child(),
        )

    def _drawn(self, purpose: str, most: int) -> pulumi.Output[str]:
        """A name that is never used again: what has it stays soft-deleted, and Entra draws a principal's id anew."""
        return self.identity.principal_id.apply(lambda id_: unique_name(self.context.prefix, purpose, id_, most))

    def _workspace(self) -> ml.Workspace:
        args = self.args
        insights = self._insights()
        account, vault, registry = self._storage(), self._vault(), self._registry()
        grants = self._rights(account, vault, registry, insights)
        # What an endpoint's own identity needs: learn.microsoft.com/azure/machine-learning/
        # how-to-access-resources-from-endpoints-managed-identities, read on 2026-11-30.
        self._serving_rights = [
            self._grant("serving-models", "blob-reader", args.store_account_id, self.serving_identity),
            self._grant("serving-storage", "blob-reader", account.id, self.serving_identity),
            self._grant("serving-registry", "acr-pull", registry.id, self.serving_identity),
            self._grant("serving-insights", "metrics-publisher", insights.id, self.serving_identity),
        ]
        return ml.Workspace(
            f"{self.context.prefix}-azureml-workspace",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self._drawn("azureml", 33),
            friendly_name=f"{self.context.prefix} burst",
            kind="Default",
            sku=ml.SkuArgs(name="Basic", tier=ml.SkuTier.BASIC),
            identity=user_assigned(self.identity),
            primary_user_assigned_identity=self.identity.id,
            storage_account=account.id,
            key_vault=vault.id,
            container_registry=registry.id,
            application_insights=insights.id,
            public_network_access="Disabled",
            managed_network=ml.ManagedNetworkSettingsArgs(
                isolation_mode="AllowOnlyApprovedOutbound",
                # Of the workspace's own account blobs and files are reached without being asked for.
                outbound_rules={"models-blob": _outbound(args.store_account_id, "blob")},
            ),
            # Else the network comes with the first compute instance, and online deployments are refused until then.
            provision_network_now=True,
            system_datastores_auth_mode="identity",
            v1_legacy_mode=False,
            hbi_workspace=True,
            tags=self.context.tags,
            opts=self.child(holds_data=True, depends_on=[*grants, in_force(grants), *self._links]),
        )

    def _insights(self) -> applicationinsights.Component:
        args = self.args
        return applicationinsights.Component(
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

    def _rights(
        self,
        account: storage.StorageAccount,
        vault: keyvault.Vault,
        registry: containerregistry.Registry,
        insights: applicationinsights.Component,
    ) -> list[authorization.RoleAssignment]:
        return [
            # What Azure asks of an identity that a workspace is made with: learn.microsoft.com/azure/machine-learning/
            # how-to-identity-based-service-authentication and how-to-managed-network, read on 2026-11-29.
            *(
                self._grant(name, role, scope)
                for name, scope in (("storage", account.id), ("vault", vault.id), ("registry", registry.id))
                for role in ("contributor", "network-approver")
            ),
            self._grant("insights", "contributor", insights.id),
            self._grant("vault", "vault-administrator", vault.id),
            self._grant("models", "network-approver", self.args.store_account_id),
            self._grant("storage", "blob-contributor", account.id),
            self._grant("models", "blob-contributor", self.args.store_account_id),
            self._grant("registry", "acr-pull", registry.id),
        ]

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
        self._send("storage", pulumi.Output.concat(account.id, "/blobServices/default"), BLOBS, "Transaction")
        return account

    def _vault(self) -> keyvault.Vault:
        args = self.args
        vault = keyvault.Vault(
            f"{self.context.prefix}-azureml-vault",
            resource_group_name=args.resource_group_name,
            location=args.location,
            vault_name=self._drawn("kv", 24),
            properties=keyvault.VaultPropertiesArgs(
                tenant_id=args.tenant_id,
                sku=keyvault.SkuArgs(family="A", name=keyvault.SkuName.STANDARD),
                enable_rbac_authorization=True,
                enable_purge_protection=True,
                enable_soft_delete=True,
                soft_delete_retention_in_days=90 if self.context.protect_data else 7,
                public_network_access="disabled",
                network_acls=keyvault.NetworkRuleSetArgs(default_action="Deny", bypass="AzureServices"),
            ),
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )
        self._private("azureml-vault", vault.id, "vault", "vault")
        self._send("vault", vault.id, VAULT)
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
            zone_redundancy=containerregistry.ZoneRedundancy.ENABLED,
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )
        self._private("azureml-registry", registry.id, "registry", "registry")
        self._send("registry", registry.id, REGISTRY)
        return registry

    def _send(
        self, name: str, resource_id: pulumi.Input[str], categories: Sequence[str], metrics: str = "AllMetrics"
    ) -> None:
        send_logs(self, f"azureml-{name}-logs", resource_id, self.logs.id, categories, metrics)

    def _private(self, name: str, target_id: pulumi.Input[str], group_id: str, *zones: str) -> None:
        args = self.args
        made = private_endpoint(
            self,
            name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            subnet_id=args.endpoints_subnet_id,
            target_id=target_id,
            group_id=group_id,
            zones={zone: args.zone_ids[zone] for zone in zones if zone in args.zone_ids},
        )
        self._links.append(made)

    def _grant(
        self,
        name: str,
        role: str,
        scope: pulumi.Input[str],
        identity: managedidentity.UserAssignedIdentity | None = None,
    ) -> authorization.RoleAssignment:
        """To the workspace's identity, unless another one is given."""
        subscription = f"/subscriptions/{self.args.subscription_id}"
        definition = f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{_ROLES[role]}"
        return authorization.RoleAssignment(
            f"{self.context.prefix}-azureml-{name}-{role}",
            scope=scope,
            principal_id=(identity or self.identity).principal_id,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL,
            role_definition_id=definition,
            opts=self.child(),
        )


def _outbound(account_id: pulumi.Input[str], part: str) -> ml.PrivateEndpointOutboundRuleArgs:
    """From the managed network to a part of a storage account:
    learn.microsoft.com/azure/machine-learning/how-to-managed-network, read on 2026-11-29."""
    return ml.PrivateEndpointOutboundRuleArgs(
        type="PrivateEndpoint",
        category="UserDefined",
        destination=ml.PrivateEndpointDestinationArgs(
            service_resource_id=account_id, subresource_target=part, spark_enabled=False
        ),
    )


def user_assigned(identity: managedidentity.UserAssignedIdentity) -> ml.ManagedServiceIdentityArgs:
    """Acting as this identity alone."""
    return ml.ManagedServiceIdentityArgs(
        type=ml.ManagedServiceIdentityType.USER_ASSIGNED, user_assigned_identities=[identity.id]
    )
