"""Mirrors of registries and chart repositories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from components.private_cluster.settings import EksSettings
from spillway.contracts.problems import Problem, key_of
from stacks.settings import StackSettings


def _mirrors_are_addresses(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    mirror = settings.connectivity.mirror
    for registry, address in mirror.images.items():
        if "://" in f"{registry}{address}":
            advice = "registries stand without a scheme, e.g. nvcr.io: registry.example.com/nvcr"
            yield Problem(key_of(f"connectivity.mirror.images.{registry}"), repr(address), advice)
    for repository, address in mirror.charts.items():
        if not address.startswith(("https://", "oci://")):
            advice = "chart repositories are URLs, e.g. https://charts.example.com/nvidia"
            yield Problem(key_of(f"connectivity.mirror.charts.{repository}"), repr(address), advice)


def _caches_are_reached(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache.html, read 2026-11-30."""
    connectivity = settings.connectivity
    caches = connectivity.mirror.pull_through
    if not caches:
        return
    key = key_of("connectivity.mirror.pull_through")
    if not isinstance(settings.private_cluster, EksSettings):
        advice = "nodes outside AWS have no rights in ECR; leave it out, or name a registry of theirs in mirror.images"
        yield Problem(key, f"private_cluster.kind: {settings.private_cluster.kind}", advice)
    if connectivity.nat == "none":
        advice = "a first pull through a cache goes over NAT; give nat: single, or name copies in mirror.images"
        yield Problem(key, "connectivity.nat: none", advice)


RULES = (_mirrors_are_addresses, _caches_are_reached)
