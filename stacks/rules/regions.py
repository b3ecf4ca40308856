"""Regions and locations: they exist, and what a stack names lies in its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import BaseModel

from components.burst.site import BurstSite
from components.burst.sites import SITES
from components.private_cluster.settings import AksSettings
from spillway.contracts.problems import Problem, key_of, nearest
from stacks.regions import AZURE_LOCATIONS, aws_regions
from stacks.settings import StackSettings

_IN_AZURE: Final = [kind for kind in SITES if kind.account == "azure"]


_PARTITIONS: Final = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso": "aws-iso",
    "eu-isoe-": "aws-iso",
    "eusc-": "aws-eusc",
}
"""Beginning of a region's name → its partition: botocore's partitions.json."""


def _aws_partition(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """Host names of the burst endpoints, names of VPC endpoint services, Route 53's alarm checks, the price lists and
    Azure's public cloud beside it are those of the partition ``aws``."""
    given = settings.aws.region
    partition = next((name for start, name in _PARTITIONS.items() if given.startswith(start)), None)
    if partition is not None:
        advice = (
            f"regions of the partition {partition} are not supported: their services have other host names and prices,"
            " and their accounts reach no other partition; give a region of the partition aws"
        )
        yield Problem(key_of("aws.region"), repr(given), advice)


def _aws_region(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    given, known = settings.aws.region, aws_regions()
    if next(_aws_partition(settings, sites), None) is not None:
        return
    if given not in known:
        yield Problem(key_of("aws.region"), repr(given), f"{nearest(given, known)}allowed: {', '.join(sorted(known))}")


def _azure_location(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if settings.azure is None or settings.azure.location in AZURE_LOCATIONS:
        return
    given = settings.azure.location
    allowed = ", ".join(sorted(AZURE_LOCATIONS))
    yield Problem(key_of("azure.location"), repr(given), f"{nearest(given, AZURE_LOCATIONS)}allowed: {allowed}")


def _azure_is_there(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if settings.azure is not None:
        return
    needs = {
        **{f"burst.{kind.name}": getattr(settings.burst, kind.name) is not None for kind in _IN_AZURE},
        "private_cluster.kind: aks": isinstance(settings.private_cluster, AksSettings),
        "dns.provider: traffic_manager": settings.dns.provider == "traffic_manager",
    }
    users = [name for name, used in needs.items() if used]
    if users:
        advice = f"{' and '.join(users)} cannot be without it: give location, subscription_id and tenant_id"
        yield Problem(key_of("azure"), "nothing", advice)


def _arns_are_of_the_region(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    region = settings.aws.region
    for key, arn in _arns(settings, ""):
        partition, _, where = arn.split(":")[1:4]
        if partition != "aws":
            advice = f"it is of the partition {partition}, and aws.region, {region}, is of aws; give one from there"
            yield Problem(key_of(key), repr(arn), advice)
        elif where not in ("", region):
            advice = f"it has to be in aws.region, {region}; give one from there, or change the region"
            yield Problem(key_of(key), repr(arn), advice)


def _arns(part: object, key: str) -> Iterator[tuple[str, str]]:
    """Each ARN in a part of the settings, after its key."""
    if isinstance(part, BaseModel | Mapping):
        for name, value in part if isinstance(part, BaseModel) else part.items():
            yield from _arns(value, f"{key}.{name}" if key else name)
    elif isinstance(part, list | tuple):
        for number, value in enumerate(part):
            yield from _arns(value, f"{key}[{number}]")
    elif isinstance(part, str) and part.startswith("arn:"):
        yield key, part


def _zones_are_in_the_region(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    region = settings.aws.region
    strange = [zone for zone in settings.connectivity.zones or () if not zone.startswith(region)]
    if strange:
        advice = f"allowed: zones of aws.region, e.g. [{region}a, {region}b, {region}c]; leave it out for these"
        yield Problem(key_of("connectivity.zones"), ", ".join(strange), advice)


FIRST_RULES = (_aws_partition, _aws_region, _azure_location, _azure_is_there)
"""With a wrong region, nothing else can be judged."""
RULES = (_arns_are_of_the_region, _zones_are_in_the_region)
