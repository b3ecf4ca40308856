"""A certificate of the service's name, asked of ACM: issued once a record in a public zone has proved the name."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, StackContext


@dataclass(frozen=True)
class CertificateArgs:
    """``host``: the name that clients use. ``zone_id``: public zone in which it is proved."""

    host: str
    zone_id: pulumi.Input[str]


class Certificate(Component):
    """Output: ``arn``, of a certificate that is not issued yet.

    It is asked for apart from its user: nobody can prove a name whose zone is new before somebody has delegated to that
    zone, and a deployment that waited for it could not say to whom.
    """

    def __init__(
        self, context: StackContext, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("failover-dns-certificate", context, opts)
        name = f"{context.prefix}-standby"
        asked = aws.acm.Certificate(
            name,
            domain_name=args.host,
            validation_method="DNS",
            key_algorithm="EC_prime256v1",
            tags={**context.tags, "Name": name},
            opts=self.child(),
        )
        proof = asked.domain_validation_options[0]
        self.arn = asked.arn
        self._record = aws.route53.Record(
            f"{name}-certificate",
            zone_id=args.zone_id,
            name=proof.resource_record_name,
            type=proof.resource_record_type,
            records=[proof.resource_record_value],
            ttl=60,
            allow_overwrite=True,
            opts=self.child(),
        )
        self.register_outputs({"arn": self.arn})

    def issued(self) -> pulumi.Output[str]:
        """Its ARN, once ACM has issued it; a deployment waits here."""
        waited = aws.acm.CertificateValidation(
            f"{self.context.prefix}-standby",
            certificate_arn=self.arn,
            validation_record_fqdns=[self._record.fqdn],
            opts=self.child(),
        )
        return waited.certificate_arn
