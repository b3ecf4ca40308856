"""Mirrors of registries and chart repositories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
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


RULES = (_mirrors_are_addresses,)
