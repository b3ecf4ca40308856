"""A certificate of the service's name by ACME, proved in Route 53: cert-manager asks for it, and renews it in time.

Who may change the zone is a service account of its own, whose token cert-manager exchanges for a role:
https://cert-manager.io/docs/configuration/acme/dns01/route53/ (read 2026-11-30).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.gateway.settings import AcmeSettings
from components.kubernetes_documents import metadata, service_account
from spillway.contracts.names import CERTIFICATE_ISSUER

SECRET: Final = "gateway-tls"
_API: Final = "cert-manager.io/v1"
_READY: Final[dict[str, pulumi.Input[str]]] = {"pulumi.com/waitFor": "condition=Ready"}
"""So that a name that cannot be proved is told of here, and not by a gateway without its Secret
(pulumi/pulumi-kubernetes waits for generic kinds by this annotation: its own tests, GenericAwaiter)."""


@dataclass(frozen=True)
class GatewayCertificateArgs:
    """``zone_id``: public zone of Route 53 in which the name is proved; ``role_arn``: who may change it.
    ``cert_manager``: namespace and service account of cert-manager itself."""

    settings: AcmeSettings
    host: str
    region: str
    zone_id: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    cert_manager: tuple[str, str]
    depends_on: tuple[pulumi.Resource, ...] = ()


class GatewayCertificate(Component):
    """Output: ``secret_name``, of a Secret in the gateway's namespace that is there once the certificate is."""

    def __init__(
        self, context: StackContext, args: GatewayCertificateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gateway-certificate", context, opts)
        self.args = args
        self.namespace = context.namespaces.gateway
        after = list(args.depends_on)
        account = service_account(self, CERTIFICATE_ISSUER, self.namespace, after)
        issuer = self._custom("Issuer", {"acme": self._acme()}, [*after, account, self._may_ask_for_tokens(after)])
        spec = {
            "secretName": SECRET,
            "dnsNames": [args.host],
            "issuerRef": {"kind": "Issuer", "name": CERTIFICATE_ISSUER},
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        }
        made = self._custom("Certificate", spec, [issuer], _READY)
        self.secret_name = made.id.apply(lambda _: SECRET)
        self.register_outputs({"secretName": self.secret_name})

    def _acme(self) -> dict[str, Any]:
        args = self.args
        route53 = {
            "region": args.region,
            "hostedZoneID": args.zone_id,
            "role": args.role_arn,
            "auth": {"kubernetes": {"serviceAccountRef": {"name": CERTIFICATE_ISSUER}}},
        }
        return {
            "email": args.settings.email,
            "server": args.settings.server,
            "privateKeySecretRef": {"name": f"{CERTIFICATE_ISSUER}-account"},
            "solvers": [{"dns01": {"route53": route53}}],
        }

    def _may_ask_for_tokens(self, after: Sequence[pulumi.Resource]) -> k8s.rbac.v1.RoleBinding:
        """cert-manager, for that one account."""
        name, (namespace, account) = CERTIFICATE_ISSUER, self.args.cert_manager
        role = k8s.rbac.v1.Role(
            f"{self.context.prefix}-{name}",
            metadata=metadata(self.context, name, self.namespace),
            rules=[
                k8s.rbac.v1.PolicyRuleArgs(
                    api_groups=[""], resources=["serviceaccounts/token"], resource_names=[name], verbs=["create"]
                )
            ],
            opts=self.child(depends_on=after),
        )
        return k8s.rbac.v1.RoleBinding(
            f"{self.context.prefix}-{name}",
            metadata=metadata(self.context, name, self.namespace),
            role_ref=k8s.rbac.v1.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind="Role", name=name),
            subjects=[k8s.rbac.v1.SubjectArgs(kind="ServiceAccount", name=account, namespace=namespace)],
            opts=self.child(depends_on=[role]),
        )

    def _custom(
        self,
        kind: str,
        spec: dict[str, Any],
        after: Sequence[pulumi.Resource],
        annotations: dict[str, pulumi.Input[str]] | None = None,
    ) -> k8s.apiextensions.CustomResource:
        name = CERTIFICATE_ISSUER if kind == "Issuer" else SECRET
        return k8s.apiextensions.CustomResource(
            f"{self.context.prefix}-{name}-{kind.lower()}",
            api_version=_API,
            kind=kind,
            metadata=metadata(self.context, name, self.namespace, annotations=annotations),
            spec=spec,
            opts=self.child(depends_on=after),
        )
