"""Lets one Kubernetes service account act as an Azure identity: its tokens are exchanged, no key is stored anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_azure_native import managedidentity

from components.base import Component, StackContext

AUDIENCE: Final = "api://AzureADTokenExchange"


@dataclass(frozen=True)
class AzureFederationArgs:
    """``issuer_url``: exactly as in the tokens' ``iss``, and reachable by Azure for its keys."""

    resource_group_name: pulumi.Input[str]
    identity_name: pulumi.Input[str]
    issuer_url: pulumi.Input[str]
    namespace: str
    service_account: str


class AzureFederation(Component):
    """Outputs: ``subject`` (who is trusted)."""

    def __init__(
        self, context: StackContext, args: AzureFederationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity_azure_federation", context, opts)
        self.subject = f"system:serviceaccount:{args.namespace}:{args.service_account}"
        managedidentity.FederatedIdentityCredential(
            f"{context.prefix}-federated-{args.service_account}",
            resource_group_name=args.resource_group_name,
            resource_name_=args.identity_name,
            federated_identity_credential_resource_name=args.service_account,
            issuer=args.issuer_url,
            subject=self.subject,
            audiences=[AUDIENCE],
            opts=self.child(),
        )
        self.register_outputs({"subject": self.subject})
