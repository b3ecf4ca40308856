"""AWS rights of the private site without long-lived keys: by its pods' tokens, or by client certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws_documents import Statement, assumed_by_certificate, assumed_by_service_account, policy
from components.base import Component, StackContext
from components.connectivity.settings import FederationSettings
from components.gateway.rights import burst_rights, heartbeat_right
from spillway.contracts import metrics, names

AUDIENCE = "sts.amazonaws.com"


@dataclass(frozen=True)
class ServiceAccount:
    """A Kubernetes service account; with Roles Anywhere ``certificate_name`` is its certificate's common name."""

    namespace: str
    name: str
    certificate_name: str


@dataclass(frozen=True)
class AwsFederationArgs:
    """Who is trusted: ``oidc_provider_arn`` with ``oidc_issuer_url`` (EKS has a provider), ``oidc_issuer_url`` alone
    (AKS: a provider is made), else what the settings say. What for: the other values."""

    settings: FederationSettings
    endpoint_arns: Sequence[pulumi.Input[str]] = ()
    tokens: bool = False
    parameter_arns: Sequence[pulumi.Input[str]] = ()
    bucket_arn: pulumi.Input[str] | None = None
    bucket_key_arn: pulumi.Input[str] | None = None
    oidc_provider_arn: pulumi.Input[str] | None = None
    oidc_issuer_url: pulumi.Input[str] | None = None


class AwsFederation(Component):
    """Outputs: ``gateway_role_arn`` (Envoy and agent), ``server_role_arn`` (model
    servers, which fetch the package), ``oidc_provider_arn`` or ``trust_anchor_arn`` and ``profile_arn`` (``None`` for
    the way that is not used)."""

    def __init__(
        self, context: StackContext, args: AwsFederationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity-federation", context, opts)
        self.args = args
        self.oidc_provider_arn: pulumi.Input[str] | None = None
        self.trust_anchor_arn: pulumi.Output[str] | None = None
        self.profile_arn: pulumi.Output[str] | None = None
        trust, spaces = self._trust(), context.namespaces
        gateway = self._role(
            "private-gateway",
            "The private site's gateway and its agent",
            trust(ServiceAccount(spaces.gateway, names.GATEWAY, "spillway-gateway")),
        )
        server = self._role(
            names.MODEL_SERVER,
            "The private site's model servers",
            trust(ServiceAccount(spaces.serving, names.MODEL_SERVER, "spillway-model-server")),
        )
        self._gateway_rights(gateway)
        self._package_rights(names.MODEL_SERVER, server)
        self.gateway_role_arn = gateway.arn
        self.server_role_arn = server.arn
        if self.trust_anchor_arn is not None:
            self._profile([gateway.arn, server.arn])
        self.register_outputs({"gateway_role_arn": self.gateway_role_arn})

    def _trust(self) -> Callable[[ServiceAccount], pulumi.Output[str]]:
        settings, args = self.args.settings, self.args
        if args.oidc_issuer_url is not None:
            return self._trust_tokens(args.oidc_issuer_url, args.oidc_provider_arn, ())
        if settings.oidc_issuer:
            return self._trust_tokens(settings.oidc_issuer.url, None, settings.oidc_issuer.thumbprints)
        if settings.trust_anchor_pem:
            return self._trust_certificates(settings.trust_anchor_pem)
        raise ValueError(
            "spillway:connectivity.federation is empty: an existing cluster needs oidc_issuer.url (AWS can reach the "
            "issuer's keys) or trust_anchor_pem (the CA of its client certificates, for IAM Roles Anywhere)"
        )

    def _trust_tokens(
        self, issuer_url: pulumi.Input[str], provider_arn: pulumi.Input[str] | None, thumbprints: Sequence[str]
    ) -> Callable[[ServiceAccount], pulumi.Output[str]]:
        if provider_arn is None:
            provider_arn = aws.iam.OpenIdConnectProvider(
                f"{self.context.prefix}-private-site",
                url=issuer_url,
                client_id_lists=[AUDIENCE],
                thumbprint_lists=list(thumbprints) or None,
                tags=self.context.tags,
                opts=self.child(),
            ).arn
        self.oidc_provider_arn = provider_arn
        found = pulumi.Output.all(provider_arn, issuer_url)

        def trust(account: ServiceAccount) -> pulumi.Output[str]:
            return found.apply(lambda f: assumed_by_service_account(f[0], f[1], account.namespace, account.name))

        return trust

    def _trust_certificates(self, authority_pem: str) -> Callable[[ServiceAccount], pulumi.Output[str]]:
        anchor = aws.rolesanywhere.TrustAnchor(
            f"{self.context.prefix}-private-site",
            name=f"{self.context.prefix}-private-site",
            enabled=True,
            source=aws.rolesanywhere.TrustAnchorSourceArgs(
                source_type="CERTIFICATE_BUNDLE",
                source_data=aws.rolesanywhere.TrustAnchorSourceSourceDataArgs(x509_certificate_data=authority_pem),
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        self.trust_anchor_arn = anchor.arn

        def trust(account: ServiceAccount) -> pulumi.Output[str]:
            return anchor.arn.apply(lambda arn: assumed_by_certificate(arn, account.certificate_name))

        return trust

    def _profile(self, role_arns: Sequence[pulumi.Input[str]]) -> None:
        profile = aws.rolesanywhere.Profile(
            f"{self.context.prefix}-private-site",
            name=f"{self.context.prefix}-private-site",
            enabled=True,
            role_arns=role_arns,
            duration_seconds=self.args.settings.session_s,
            tags=self.context.tags,
            opts=self.child(),
        )
        self.profile_arn = profile.arn

    def _role(self, name: str, description: str, trust: pulumi.Input[str]) -> aws.iam.Role:
        return aws.iam.Role(
            f"{self.context.prefix}-{name}-role",
            description=description,
            assume_role_policy=trust,
            max_session_duration=max(3600, self.args.settings.session_s),
            tags=self.context.tags,
            opts=self.child(),
        )

    def _gateway_rights(self, role: aws.iam.Role) -> None:
        args = self.args
        document = pulumi.Output.all(endpoints=list(args.endpoint_arns), parameters=list(args.parameter_arns)).apply(
            lambda found: policy(
                *burst_rights(found["endpoints"], found["parameters"], tokens=args.tokens),
                heartbeat_right(metrics.NAMESPACE),
            )
        )
        aws.iam.RolePolicy(
            f"{self.context.prefix}-private-gateway-policy", role=role.name, policy=document, opts=self.child()
        )

    def _package_rights(self, name: str, role: aws.iam.Role) -> None:
        args = self.args
        if args.bucket_arn is None:
            return
        document = pulumi.Output.all(bucket=args.bucket_arn, key=args.bucket_key_arn).apply(
            lambda found: policy(*_read_bucket(found["bucket"], found["key"]))
        )
        aws.iam.RolePolicy(f"{self.context.prefix}-{name}-policy", role=role.name, policy=document, opts=self.child())


def _read_bucket(bucket_arn: str, key_arn: str | None) -> list[Statement]:
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": bucket_arn},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": f"{bucket_arn}/*"},
    ]
    if key_arn:
        statements.append({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key_arn})
    return list(statements)
