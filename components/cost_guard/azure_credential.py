"""What the cost functions call Azure with: a service principal's secret, one for each purpose."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, StackContext


@dataclass(frozen=True)
class AzureCredentialArgs:
    """``purpose``: ``reader`` or ``scaler``; ``does``: in words. ``credentials``: secret JSON text ``{"tenant_id",
    "client_id", "client_secret"}``."""

    purpose: str
    does: str
    credentials: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str] | None = None


class AzureCredential(Component):
    """Outputs: ``secret_arn``."""

    def __init__(
        self, context: StackContext, args: AzureCredentialArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(f"cost-guard-azure-{args.purpose}", context, opts)
        secret = aws.secretsmanager.Secret(
            f"{context.prefix}-azure-{args.purpose}",
            description=f"Service principal that {args.does}",
            kms_key_id=args.kms_key_arn,
            recovery_window_in_days=7,
            tags=context.tags,
            opts=self.child(),
        )
        version = aws.secretsmanager.SecretVersion(
            f"{context.prefix}-azure-{args.purpose}-value",
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(args.credentials),
            opts=self.child(),
        )
        # Whoever reads the secret waits for its value, not only for its name.
        self.secret_arn = pulumi.Output.all(secret.arn, version.id).apply(lambda found: found[0])
        self.register_outputs({"secret_arn": self.secret_arn})
