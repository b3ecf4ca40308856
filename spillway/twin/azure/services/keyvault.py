"""Secrets and keys."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.account import TENANT_ID
from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import IN_GROUP, PLACE, Sample

ROWS: Final = (
    in_group(
        "keyvault:Vault",
        "Microsoft.KeyVault/vaults/{vaultName}",
        "keyvault.VaultCreateOrUpdateParameters",
        create_only=LOCATION,
        computed={"vaultUri": "https://{name}.vault.azure.net/"},
        name_rule=(r"[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]", "3 to 24 letters, digits and '-', a letter first"),
        sample=Sample(
            {
                **PLACE,
                "vaultName": "spill-vault",
                "properties": {
                    "tenantId": TENANT_ID,
                    "sku": {"family": "A", "name": "standard"},
                    "enableRbacAuthorization": True,
                },
            }
        ),
    ),
    in_group(
        "keyvault:Secret",
        "Microsoft.KeyVault/vaults/{vaultName}/secrets/{secretName}",
        "keyvault.SecretCreateOrUpdateParameters",
        computed={"secretUri": "https://{parent}.vault.azure.net/secrets/{name}"},
        write_only=frozenset({"value"}),
        sample=Sample(
            {
                **IN_GROUP,
                "vaultName": "spill-vault",
                "secretName": "key",
                "properties": {"value": "hunter2"},
            }
        ),
    ),
    in_group(
        "keyvault:Key",
        "Microsoft.KeyVault/vaults/{vaultName}/keys/{keyName}",
        "keyvault.KeyCreateParameters",
        create_only=frozenset({"properties"}),
        computed={
            "keyUri": "https://{parent}.vault.azure.net/keys/{name}",
            "keyUriWithVersion": "https://{parent}.vault.azure.net/keys/{name}/{uuid}",
        },
        sample=Sample(
            {
                **IN_GROUP,
                "vaultName": "spill-vault",
                "keyName": "disk",
                "properties": {"kty": "RSA", "keySize": 2048},
            }
        ),
    ),
)
