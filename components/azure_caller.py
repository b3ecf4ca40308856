"""Who a function or gateway in AWS is in Azure: a managed identity that trusts its role, so that no secret is kept.

AWS signs a token about the role, and Entra gives one of its own for it; read on 2026-11-30:
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html,
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust-user-assigned-managed-identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws
from pulumi_azure_native import managedidentity

from components.aws_documents import Statement, allow
from components.azure_roles import grant_actions
from components.base import Component, StackContext
from spillway.contracts.azure_calls import ACTIONS, TOKEN_ALGORITHM, TOKEN_AUDIENCE, TOKEN_LIFETIME_S, Caller
from spillway.contracts.function_config import AzureIdentity

MAY_ASK_FOR_TOKENS: Final[Statement] = allow(
    "TokenForAzure",
    ["sts:GetWebIdentityToken"],
    "*",
    {
        "ForAllValues:StringEquals": {"sts:IdentityTokenAudience": [TOKEN_AUDIENCE]},
        "StringEquals": {"sts:SigningAlgorithm": TOKEN_ALGORITHM},
        "NumericLessThanEquals": {"sts:DurationSeconds": str(TOKEN_LIFETIME_S)},
    },
)
"""What the caller's role needs; the conditions are AWS's own
(https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_policies.html)."""


class TokenIssuerError(pulumi.RunError):
    """The AWS account signs no tokens."""


@dataclass(frozen=True)
class AzureCallerArgs:
    """``scopes``: what the calls are made on, by a short name."""

    caller: Caller
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    tenant_id: str
    scopes: Mapping[str, pulumi.Input[str]]


class AzureCaller(Component):
    """Outputs: ``client_id``, ``identity`` (for a function's configuration)."""

    def __init__(
        self, context: StackContext, args: AzureCallerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self.args, short = args, args.caller.replace(" ", "-")
        self.name = f"{context.prefix}-{short}"
        super().__init__(f"azure-{short}", context, opts)
        self._managed = managedidentity.UserAssignedIdentity(
            f"{self.name}-identity",
            resource_group_name=args.resource_group_name,
            location=args.location,
            resource_name_=self.name,
            tags=context.tags,
            opts=self.child(),
        )
        group = pulumi.Output.concat(f"/subscriptions/{args.subscription_id}/resourceGroups/", args.resource_group_name)
        grant_actions(self, short, ACTIONS[args.caller], self._managed.principal_id, group, args.scopes)
        self.client_id = self._managed.client_id
        self.identity = self.client_id.apply(lambda id_: AzureIdentity(args.tenant_id, id_))
        self._trusted: list[pulumi.Resource] = []
        self.register_outputs({"clientId": self._managed.client_id})

    def trust(self, role_arn: pulumi.Input[str], of: str = "") -> None:
        """Let whoever has this role be the identity: it is made after the identity, which it is told of. ``of``: whose
        the role is, where there are several."""
        self._trust(_issuer(self.context.aws), role_arn, of)

    def trust_account(self, issuer_url: pulumi.Input[str], account: str, of: str) -> None:
        """The same for a service account of a cluster, ``system:serviceaccount:<namespace>:<name>``."""
        self._trust(issuer_url, account, of)

    def _trust(self, issuer: pulumi.Input[str], subject: pulumi.Input[str], of: str) -> None:
        name = f"{self.name}-{of}" if of else self.name
        made = managedidentity.FederatedIdentityCredential(
            f"{name}-trust",
            resource_group_name=self.args.resource_group_name,
            resource_name_=self._managed.name,
            federated_identity_credential_resource_name=name,
            issuer=issuer,
            subject=subject,
            audiences=[TOKEN_AUDIENCE],
            # Entra takes one after the other (learn.microsoft.com/entra/workload-id/
            # workload-identity-federation-considerations, "Concurrent updates aren't supported").
            opts=self.child(depends_on=list(self._trusted)),
        )
        self._trusted = [made]


def _issuer(provider: pulumi.ProviderResource | None) -> str:
    """The URL under which the account's tokens are signed; AWS draws one for each account."""
    try:
        found = aws.iam.get_outbound_web_identity_federation(pulumi.InvokeOptions(provider=provider))
    except Exception as error:
        raise TokenIssuerError(
            f"AWS does not tell who signs the account's tokens ({error}), with which the functions call Azure. Switch"
            " it on once for the account with `aws iam enable-outbound-web-identity-federation`, and let the deployer"
            " call iam:GetOutboundWebIdentityFederationInfo"
        ) from None
    return found.issuer_identifier
