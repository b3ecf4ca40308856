"""Identities, and who may take them on."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import IN_GROUP, PLACE, Sample

ROWS: Final = (
    in_group(
        "managedidentity:UserAssignedIdentity",
        "Microsoft.ManagedIdentity/userAssignedIdentities/{resourceName}",
        "msi.v2024_11_30.Identity",
        create_only=LOCATION,
        computed={"tenantId": "{tenant}"},
        drawn=frozenset({"principalId", "clientId"}),
        sample=Sample({**PLACE, "resourceName": "agent"}),
    ),
    in_group(
        "managedidentity:FederatedIdentityCredential",
        "Microsoft.ManagedIdentity/userAssignedIdentities/{resourceName}/federatedIdentityCredentials/{federatedIdentityCredentialResourceName}",
        "msi.v2024_11_30.FederatedIdentityCredential",
        sample=Sample(
            {
                **IN_GROUP,
                "resourceName": "agent",
                "federatedIdentityCredentialResourceName": "aks",
                "issuer": "https://issuer.example/",
                "subject": "system:serviceaccount:spillway-gateway:agent",
                "audiences": ["api://AzureADTokenExchange"],
            }
        ),
    ),
)
