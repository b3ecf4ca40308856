"""The Azure side of the model store: a storage account whose container holds the packages for Azure ML."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import storage

from components.base import Component, StackContext
from components.connectivity.azure_network import private_endpoint
from components.model_store.settings import AzureStoreSettings


@dataclass(frozen=True)
class AzureModelStoreArgs:
    settings: AzureStoreSettings
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    endpoints_subnet_id: pulumi.Input[str]
    zone_ids: Mapping[str, pulumi.Input[str]]


class AzureModelStore(Component):
    """Outputs: ``account_name``, ``account_id``, ``container_name``, ``container_id``, ``endpoint`` (private)."""

    def __init__(
        self, context: StackContext, args: AzureModelStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("model-store-azure", context, opts)
        self.args = args
        account = self._account()
        self.account_name = account.name
        self.account_id = account.id
        storage.BlobServiceProperties(
            f"{context.prefix}-models-service",
            resource_group_name=args.resource_group_name,
            account_name=account.name,
            blob_services_name="default",
            is_versioning_enabled=True,
            delete_retention_policy=storage.DeleteRetentionPolicyArgs(
                enabled=True, days=args.settings.delete_retention_days
            ),
            container_delete_retention_policy=storage.DeleteRetentionPolicyArgs(
                enabled=True, days=args.settings.delete_retention_days
            ),
            opts=self.child(),
        )
        container = storage.BlobContainer(
            f"{context.prefix}-models-container",
            resource_group_name=args.resource_group_name,
            account_name=account.name,
            container_name=args.settings.container_name,
            public_access=storage.PublicAccess.NONE,
            opts=self.child(holds_data=True),
        )
        self.container_name = container.name
        self.container_id = container.id
        self.endpoint = private_endpoint(
            self,
            "models",
            resource_group_name=args.resource_group_name,
            location=args.location,
            subnet_id=args.endpoints_subnet_id,
            target_id=account.id,
            group_id="blob",
            zones={zone: id_ for zone, id_ in args.zone_ids.items() if zone == "blob"},
        )
        self.register_outputs({"account_name": self.account_name, "container_name": self.container_name})

    def _account(self) -> storage.StorageAccount:
        args = self.args
        return storage.StorageAccount(
            f"{self.context.prefix}-models",
            resource_group_name=args.resource_group_name,
            location=args.location,
            account_name=storage_account_name(self.context.prefix, args.subscription_id, "models"),
            kind=storage.Kind.STORAGE_V2,
            sku=storage.SkuArgs(name=storage.SkuName.STANDARD_ZRS),
            allow_blob_public_access=False,
            allow_shared_key_access=False,
            allow_cross_tenant_replication=False,
            default_to_o_auth_authentication=True,
            enable_https_traffic_only=True,
            minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
            public_network_access="Disabled",
            network_rule_set=storage.NetworkRuleSetArgs(
                default_action=storage.DefaultAction.DENY, bypass="AzureServices"
            ),
            encryption=storage.EncryptionArgs(
                key_source=storage.KeySource.MICROSOFT_STORAGE,
                require_infrastructure_encryption=True,
                services=storage.EncryptionServicesArgs(
                    blob=storage.EncryptionServiceArgs(enabled=True, key_type="Account"),
                    file=storage.EncryptionServiceArgs(enabled=True, key_type="Account"),
                ),
            ),
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )


def storage_account_name(prefix: str, subscription_id: str, purpose: str) -> str:
    """A storage account's name: 3 to 24 lower-case letters and digits, unique over all of Azure."""
    unique = hashlib.sha256(f"{prefix}/{subscription_id}/{purpose}".encode()).hexdigest()[:10]
    letters = "".join(c for c in f"{prefix}{purpose}" if c.isalnum()).lower()
    return f"{letters[:14]}{unique}"
