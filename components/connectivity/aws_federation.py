"""AWS rights of the private site without long-lived keys: by its pods' tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws_documents import Statement, assumed_by_service_account, policy
from components.base import Component, StackContext
from components.connectivity.settings import FederationSettings
from components.gateway.rights import burst_rights, metrics_rights, zone_rights
from spillway.contracts import metrics, names

AUDIENCE = "sts.amazonaws.com"


@dataclass(frozen=True)
class ServiceAccount:
    """Of Kubernetes."""

    namespace: str
    name: str


@dataclass(frozen=True)
class AwsFederationArgs:
    """Who is trusted: ``oidc_provider_arn`` with ``oidc_issuer_url`` (EKS has a provider), ``oidc_issuer_url`` alone
    (AKS: a provider is made), else what the settings say. What for: the other values."""

    settings: FederationSettings
    endpoint_arns: Sequence[pulumi.Input[str]] = ()
    tokens: bool = False
    parameter_arns: Sequence[pulumi.Input[str]] = ()
    gateway_rights: Sequence[pulumi.Input[Sequence[Statement]]] = ()
    certificate_zone_id: pulumi.Input[str] | None = None
    region: str = ""
    bucket_arn: pulumi.Input[str] | None = None
    bucket_key_arn: pulumi.Input[str] | None = None
    topic_arn: pulumi.Input[str] | None = None
    topic_key_arn: pulumi.Input[str] | None = None
    oidc_provider_arn: pulumi.Input[str] | None = None
    oidc_issuer_url: pulumi.Input[str] | None = None


class AwsFederation(Component):
    """Outputs: ``gateway_role_arn`` (Envoy and agent), ``server_role_arn`` (model servers, which fetch the package),
    ``alerts_role_arn`` (Alertmanager, which tells the topic), ``issuer_role_arn`` (who proves names in the zone;
    ``None`` without one), ``oidc_provider_arn``."""

    def __init__(
        self, context: StackContext, args: AwsFederationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity-federation", context, opts)
        self.args = args
        self.oidc_provider_arn: pulumi.Input[str] | None = None
        trust, spaces = self._trust(), context.namespaces
        gateway = self._role(
            "private-gateway",
            "The private site's gateway and its agent",
            trust(ServiceAccount(spaces.gateway, names.GATEWAY)),
        )
        server = self._role(
            names.MODEL_SERVER,
            "The private site's model servers",
            trust(ServiceAccount(spaces.serving, names.MODEL_SERVER)),
        )
        alerts = self._role(
            names.ALERTMANAGER,
            "The private site's Alertmanager",
            trust(ServiceAccount(spaces.monitoring, names.ALERTMANAGER)),
        )
        self._gateway_rights(gateway)
        self._notice_rights(alerts)
        self._package_rights(names.MODEL_SERVER, server)
        self.gateway_role_arn = gateway.arn
        self.server_role_arn = server.arn
        self.alerts_role_arn = alerts.arn
        self.issuer_role_arn = self._issuer_role(trust(ServiceAccount(spaces.gateway, names.CERTIFICATE_ISSUER)))
        self.register_outputs({"gateway_role_arn": self.gateway_role_arn})

    def _trust(self) -> Callable[[ServiceAccount], pulumi.Output[str]]:
        settings, args = self.args.settings, self.args
        if args.oidc_issuer_url is not None:
            return self._trust_tokens(args.oidc_issuer_url, args.oidc_provider_arn, ())
        if settings.oidc_issuer:
            issuer = settings.oidc_issuer
            return self._trust_tokens(issuer.url, issuer.provider_arn, issuer.thumbprints)
        raise ValueError(
            "spillway:connectivity.federation is empty: an existing cluster needs oidc_issuer.url, an issuer "
            "whose keys AWS can reach"
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
        document = pulumi.Output.all(
            endpoints=list(args.endpoint_arns), parameters=list(args.parameter_arns), more=list(args.gateway_rights)
        ).apply(
            lambda found: policy(
                *burst_rights(found["endpoints"], found["parameters"], tokens=args.tokens),
                *metrics_rights(metrics.NAMESPACE),
                *chain(*found["more"]),
            )
        )
        aws.iam.RolePolicy(
            f"{self.context.prefix}-private-gateway-policy", role=role.name, policy=document, opts=self.child()
        )

    def _notice_rights(self, role: aws.iam.Role) -> None:
        """To publish to the topic, whose messages are encrypted: https://docs.aws.amazon.com/sns/latest/dg/
        sns-key-management.html#sns-what-permissions-for-sse"""
        document = pulumi.Output.all(topic=self.args.topic_arn, key=self.args.topic_key_arn).apply(
            lambda found: policy(
                {"Effect": "Allow", "Action": "sns:Publish", "Resource": found["topic"]},
                {"Effect": "Allow", "Action": ["kms:GenerateDataKey*", "kms:Decrypt"], "Resource": found["key"]},
            )
        )
        aws.iam.RolePolicy(
            f"{self.context.prefix}-{names.ALERTMANAGER}-policy", role=role.name, policy=document, opts=self.child()
        )

    def _issuer_role(self, trust: pulumi.Input[str]) -> pulumi.Output[str] | None:
        args, name = self.args, names.CERTIFICATE_ISSUER
        if args.certificate_zone_id is None:
            return None
        role = self._role(name, "Proves the gateways' name in Route 53 for their certificate", trust)
        document = pulumi.Output.from_input(args.certificate_zone_id).apply(
            lambda zone: policy(*zone_rights(args.region, zone))
        )
        aws.iam.RolePolicy(f"{self.context.prefix}-{name}-policy", role=role.name, policy=document, opts=self.child())
        return role.arn

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
