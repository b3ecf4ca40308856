"""Rules between the parts of a stack file: functions of the settings and the burst sites that tell what is wrong.

One module a concern; a burst site's own rules stand in its folder. Nothing here imports a provider SDK: a
faulty file is refused before one is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.burst.site import BurstSite
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem
from stacks.rules import (
    answers,
    burst,
    canary,
    clients,
    cluster,
    costs,
    entrance,
    fabric,
    language,
    mirrors,
    networks,
    regions,
    room,
    sharing,
    tags,
)
from stacks.settings import StackSettings

_RULES = (
    *entrance.RULES,
    *regions.RULES,
    *cluster.RULES,
    *networks.RULES,
    *room.RULES,
    *sharing.RULES,
    *fabric.RULES,
    *canary.RULES,
    *clients.RULES,
    *mirrors.RULES,
    *answers.RULES,
    *burst.RULES,
    *costs.RULES,
    *tags.RULES,
)


def problems_between(settings: StackSettings, sites: Sequence[BurstSite]) -> list[Problem]:
    """What is wrong between the parts. Regions come first: with a wrong one, nothing else can be judged."""
    first = [problem for rule in regions.FIRST_RULES for problem in rule(settings, sites)]
    return first or [problem for rule in _RULES for problem in rule(settings, sites)]


def problems_with_package(settings: StackSettings, sites: Sequence[BurstSite], manifest: Manifest) -> list[Problem]:
    """What the sites cannot serve of this package."""
    own_rules = (*room.PACKAGE_RULES, *sharing.PACKAGE_RULES, *clients.PACKAGE_RULES, *answers.PACKAGE_RULES)
    private = [problem for rule in own_rules for problem in rule(settings, manifest)]
    found = [problem for rule in burst.PACKAGE_RULES for problem in rule(sites, manifest)]
    return [*private, *found, *language.problems(settings, sites, manifest)]


def problems_with_canary(settings: StackSettings, serving: Manifest, release: Manifest) -> list[Problem]:
    """Why a release cannot be tried beside the package that serves."""
    return [problem for rule in canary.PACKAGE_RULES for problem in rule(settings, serving, release)]
