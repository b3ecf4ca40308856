"""Which three availability zones of a region a stack stands in: asked of AWS, since letters mean nothing by themselves.

Tokyo has no b for new accounts, Canada no c, and in us-east-1 each account has its own letters; only zone IDs are the
same for everybody (https://docs.aws.amazon.com/ram/latest/userguide/working-with-az-ids.html).
"""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_aws as aws

WITHOUT_EKS: Final = ("use1-az3", "usw1-az2", "cac1-az3")
"""Zone IDs in which EKS puts no control plane
(https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html, read 2026-11-30)."""
COUNT: Final = 3


class ZonesError(pulumi.RunError):
    """The region has no three zones for this account."""


def three_zones(provider: pulumi.ProviderResource | None, region: str, gpu_type: str | None) -> tuple[str, ...]:
    """Names of the first three zones by letter: a zone that a region gets later is another letter, and moves nothing.

    Raises :class:`ZonesError` where there are no three, or where none of them offers ``gpu_type`` (EC2).
    """
    opts = pulumi.InvokeOptions(provider=provider)
    usable = sorted(
        aws.get_availability_zones(
            state="available",
            exclude_zone_ids=list(WITHOUT_EKS),
            # Local and Wavelength zones have to be opted in to; they are no zones of this kind.
            filters=[aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])],
            opts=opts,
        ).names
    )
    if len(usable) < COUNT:
        raise ZonesError(
            f"{region} has {len(usable)} zones for this account in which EKS works ({', '.join(usable)}); a stack needs"
            f" {COUNT}: take another aws.region"
        )
    chosen = tuple(usable[:COUNT])
    offering = _offering(gpu_type, opts) if gpu_type else set(chosen)
    if not offering & set(chosen):
        where = f"in {', '.join(sorted(offering))} only" if offering else "nowhere"
        raise ZonesError(
            f"{gpu_type} is offered {where} in {region}, and the stack would stand in {', '.join(chosen)}: name three"
            " zones in connectivity.zones, of which one has it, or take another private_cluster.gpu_pool.instance_type"
        )
    return chosen


def _offering(gpu_type: str, opts: pulumi.InvokeOptions) -> set[str]:
    found = aws.ec2.get_instance_type_offerings(
        location_type="availability-zone",
        filters=[aws.ec2.GetInstanceTypeOfferingsFilterArgs(name="instance-type", values=[gpu_type])],
        opts=opts,
    )
    return set(found.locations)
