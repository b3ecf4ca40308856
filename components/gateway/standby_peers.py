"""The name behind which each task of the standby gateway has an address: by it they count themselves.

What is for all of them is divided by how many there are. Beside the private cluster a headless Service does the same.
"""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_aws as aws

from components.base import Component
from spillway.contracts.names import GATEWAY_PEERS

_TTL_S: Final = 5


def host_of_all(prefix: str) -> str:
    """The name. Private to the VPC."""
    return f"{GATEWAY_PEERS}.{_zone(prefix)}"


def _zone(prefix: str) -> str:
    return f"{prefix}.spillway.internal"


def name_of_all(gateway: Component, vpc_id: pulumi.Input[str]) -> pulumi.Output[str]:
    """ARN of the registry to which ECS, by its own service-linked role, adds each task that runs, and from which it
    takes those that end (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-discovery.html)."""
    prefix, tags = gateway.context.prefix, gateway.context.tags
    namespace = aws.servicediscovery.PrivateDnsNamespace(
        f"{prefix}-standby",
        name=_zone(prefix),
        description="Tasks of the standby gateway",
        vpc=vpc_id,
        tags=tags,
        opts=gateway.child(),
    )
    registry = aws.servicediscovery.Service(
        f"{prefix}-standby-peers",
        name=GATEWAY_PEERS,
        description="Each task of the standby gateway",
        dns_config=aws.servicediscovery.ServiceDnsConfigArgs(
            namespace_id=namespace.id,
            dns_records=[aws.servicediscovery.ServiceDnsConfigDnsRecordArgs(type="A", ttl=_TTL_S)],
            # Up to eight addresses in one answer (https://docs.aws.amazon.com/cloud-map/latest/api/API_DnsConfig.html).
            routing_policy="MULTIVALUE",
        ),
        # Tasks that are still ending would keep it from being deleted.
        force_destroy=True,
        tags=tags,
        opts=gateway.child(),
    )
    return registry.arn
