"""The networks that Route 53's health checkers call from, as AWS tells them today."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from spillway.contracts.health_checkers import prefix_list


def networks(provider: pulumi.ProviderResource | None, region: str) -> tuple[str, ...]:
    """In a fixed order, so that nothing moves while the list stays."""
    found = aws.ec2.get_managed_prefix_list(name=prefix_list(region), opts=pulumi.InvokeOptions(provider=provider))
    return tuple(sorted(entry.cidr for entry in found.entries))
