"""The hosted zone of the service's name: private or public by exposure, or one that is already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.base import Component, StackContext
from components.failover_dns.settings import Route53Settings


@dataclass(frozen=True)
class Route53ZoneArgs:
    """``vpc_id``: the VPC that resolves a private zone."""

    settings: Route53Settings
    region: str
    exposure: Literal["internal", "public"]
    vpc_id: pulumi.Input[str]


class Route53Zone(Component):
    """Outputs: ``zone_id``, ``name_servers`` (empty for a zone that was there), ``certificate_zone_id``: the public
    zone in which a certificate of the name can be proved, ``None`` where the settings know none."""

    def __init__(
        self, context: StackContext, args: Route53ZoneArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("failover-dns-zone", context, opts)
        settings = args.settings
        self.zone_id: pulumi.Input[str]
        self.name_servers: pulumi.Input[Sequence[str]]
        if settings.zone_id:
            self.zone_id, self.name_servers = settings.zone_id, []
        else:
            zone = self._create(args)
            self.zone_id, self.name_servers = zone.zone_id, zone.name_servers
        own = self.zone_id if args.exposure == "public" else None
        self.certificate_zone_id: pulumi.Input[str] | None = settings.certificate_zone_id or own
        self.register_outputs({"zone_id": self.zone_id, "name_servers": self.name_servers})

    def _create(self, args: Route53ZoneArgs) -> aws.route53.Zone:
        private_to = [aws.route53.ZoneVpcArgs(vpc_id=args.vpc_id, vpc_region=args.region)]
        return aws.route53.Zone(
            f"{self.context.prefix}-zone",
            name=args.settings.zone_name,
            comment=f"Clients of {self.context.prefix}",
            vpcs=private_to if args.exposure == "internal" else None,
            force_destroy=False,
            tags=self.context.tags,
            opts=self.child(holds_data=True),
        )
