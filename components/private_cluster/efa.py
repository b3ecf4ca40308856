"""EKS's GPU nodes on Elastic Fabric Adapters, by which the nodes of one server exchange what they compute.

https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html, and how interfaces are spread over network cards:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components.base import Component
from spillway.contracts.network_cards import network

HUGE_PAGES: Final = 5128
"""Of 2 MiB, of a node: what EFA's own installer sets aside."""


@dataclass(frozen=True)
class Fabric:
    """Of a launch template."""

    interfaces: list[aws.ec2.LaunchTemplateNetworkInterfaceArgs]
    placement: aws.ec2.LaunchTemplatePlacementArgs


def efa_fabric(
    component: Component, instance_type: str, vpc_id: pulumi.Input[str], cluster_group_id: pulumi.Input[str]
) -> Fabric:
    """``cluster_group_id``: the security group that EKS gives its nodes; a launch template that names any, names all.
    Raises ``ValueError`` for a machine without adapters."""
    groups = [cluster_group_id, _security_group(component, vpc_id)]
    placement = aws.ec2.PlacementGroup(
        f"{component.context.prefix}-gpu",
        name=f"{component.context.prefix}-gpu",
        strategy="cluster",
        tags=component.context.tags,
        opts=component.child(),
    )
    return Fabric(
        interfaces=[
            aws.ec2.LaunchTemplateNetworkInterfaceArgs(
                network_card_index=card,
                device_index=device,
                interface_type=kind,
                security_groups=groups,
                delete_on_termination="true",
            )
            for card, device, kind in _cards(instance_type)
        ],
        placement=aws.ec2.LaunchTemplatePlacementArgs(group_name=placement.name.apply(str)),
    )


def _cards(instance_type: str) -> Iterator[tuple[int, int, str]]:
    """Network card, device and kind of each interface: the first has the node's address, which an EFA has not."""
    found = network(instance_type)
    if found is None or not found.efa:
        raise ValueError(f"{instance_type} has no Elastic Fabric Adapter")
    yield 0, 0, "interface"
    for card in range(found.cards - found.efa, found.cards):
        yield card, int(card == 0), "efa-only"


def _security_group(component: Component, vpc_id: pulumi.Input[str]) -> pulumi.Output[str]:
    """An EFA carries only what its security group lets go from and to itself, all of it: "Step 1: Prepare an
    EFA-enabled security group", https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html"""
    name = f"{component.context.prefix}-efa"
    group = aws.ec2.SecurityGroup(
        name,
        description="The nodes of one server, among themselves",
        vpc_id=vpc_id,
        ingress=[aws.ec2.SecurityGroupIngressArgs(protocol="-1", from_port=0, to_port=0, self=True)],
        egress=[aws.ec2.SecurityGroupEgressArgs(protocol="-1", from_port=0, to_port=0, self=True)],
        tags={**component.context.tags, "Name": name},
        opts=component.child(),
    )
    return group.id
