"""Storage accounts: blobs and file shares. The bytes of a blob are in ``spillway.twin.azure.blobs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.azure.row import LOCATION, Action, Keys, encoded, in_group
from spillway.twin.azure.sample import IN_GROUP, PLACE, Sample

_STORE: Final = "Microsoft.Storage/storageAccounts/{accountName}"


def _account_keys(_: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    pairs = zip(("key1", "key2"), keys, strict=True)
    return {"keys": [{"keyName": name, "value": encoded(key), "permissions": "FULL"} for name, key in pairs]}


ROWS: Final = (
    in_group(
        "storage:StorageAccount",
        _STORE,
        "storage.StorageAccountCreateParameters",
        create_only=LOCATION | {"isHnsEnabled"},
        identity=True,
        renames={
            "enableHttpsTrafficOnly": "supportsHttpsTrafficOnly",
            "enableNfsV3": "isNfsV3Enabled",
            "networkRuleSet": "networkAcls",
        },
        computed={
            "primaryEndpoints": {
                s: f"https://{{name}}.{s}.core.windows.net/" for s in ("blob", "file", "queue", "table", "dfs")
            },
            "primaryLocation": "{location}",
            "statusOfPrimary": "available",
        },
        name_rule=(r"[a-z0-9]{3,24}", "3 to 24 lower-case letters and digits"),
        actions=(Action("listKeys", "storage:listStorageAccountKeys", _account_keys, "keys"),),
        sample=Sample(
            {
                **PLACE,
                "accountName": "spillstore",
                "kind": "StorageV2",
                "sku": {"name": "Standard_LRS"},
                "enableHttpsTrafficOnly": True,
                "minimumTlsVersion": "TLS1_2",
                "networkRuleSet": {
                    "defaultAction": "Deny",
                    "ipRules": [{"iPAddressOrRange": "198.51.100.7", "action": "Allow"}],
                },
            }
        ),
    ),
    in_group(
        "storage:BlobContainer",
        f"{_STORE}/blobServices/default/containers/{{containerName}}",
        "storage.BlobContainer",
        name_rule=(r"[a-z0-9$](-?[a-z0-9]){2,62}", "3 to 63 lower-case letters, digits and '-'"),
        sample=Sample(
            {
                **IN_GROUP,
                "accountName": "spillstore",
                "containerName": "packages",
                "publicAccess": "None",
            }
        ),
    ),
    in_group(
        "storage:BlobServiceProperties",
        f"{_STORE}/blobServices/{{blobServicesName}}",
        "storage.BlobServiceProperties",
        settings_of_parent=True,
        sample=Sample(
            {
                **IN_GROUP,
                "accountName": "spillstore",
                "blobServicesName": "default",
                "isVersioningEnabled": True,
                "deleteRetentionPolicy": {"enabled": True, "days": 14},
            }
        ),
    ),
    in_group(
        "storage:ManagementPolicy",
        f"{_STORE}/managementPolicies/{{managementPolicyName}}",
        "storage.ManagementPolicy",
        sample=Sample(
            {
                **IN_GROUP,
                "accountName": "spillstore",
                "managementPolicyName": "default",
                "policy": {
                    "rules": [
                        {
                            "enabled": True,
                            "name": "old",
                            "type": "Lifecycle",
                            "definition": {
                                "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": 90.0}}},
                                "filters": {"blobTypes": ["blockBlob"]},
                            },
                        }
                    ]
                },
            }
        ),
    ),
    in_group(
        "storage:FileShare",
        f"{_STORE}/fileServices/default/shares/{{shareName}}",
        "storage.FileShare",
        sample=Sample({**IN_GROUP, "accountName": "spillstore", "shareName": "models", "shareQuota": 10}),
    ),
)
