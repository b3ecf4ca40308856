"""Who may call the gateways, and where their requests may go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from components.burst.site import BurstSite
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of, nearest
from stacks.settings import StackSettings


def _whole_internet_only_when_public(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    for index, cidr in enumerate(settings.client_cidrs):
        if settings.exposure == "internal" and IPv4Network(cidr).prefixlen == 0:
            advice = "with exposure: internal list the networks that need access, e.g. 10.0.0.0/8"
            yield Problem(key_of(f"client_cidrs[{index}]"), repr(cidr), advice)


def _spill_targets_exist(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    allowed = [place for site in sites for place in (site.name, site.region)]
    gateway = settings.gateway
    lists = {f"gateway.clients[{index}].may_spill": client.may_spill for index, client in enumerate(gateway.clients)}
    lists["gateway.model_may_spill"] = gateway.model_may_spill
    if gateway.anonymous is not None:
        lists["gateway.anonymous.may_spill"] = gateway.anonymous.may_spill
    for key, places in lists.items():
        for place in places if isinstance(places, tuple) else ():
            if place not in allowed:
                advice = f"{nearest(place, allowed)}allowed: anywhere, never, or a list of {', '.join(allowed)}"
                yield Problem(key_of(key), repr(place), advice)


def _budgets_count_what_there_is(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    """A package for Triton has no tokens: its budget would hold nobody back."""
    gateway = settings.gateway
    callers = {f"clients[{index}]": client for index, client in enumerate(gateway.clients)}
    for name, caller in {**callers, "anonymous": gateway.anonymous}.items():
        if caller is None or manifest.kind == "vllm":
            continue
        advice = f"the package is for {manifest.kind}, whose answers say nothing of tokens; use requests_per_s"
        if caller.tokens_per_minute:
            yield Problem(key_of(f"gateway.{name}.tokens_per_minute"), repr(dict(caller.tokens_per_minute)), advice)
        if caller.tokens_per_month:
            yield Problem(key_of(f"gateway.{name}.tokens_per_month"), repr(caller.tokens_per_month), advice)


PACKAGE_RULES = (_budgets_count_what_there_is,)
RULES = (_whole_internet_only_when_public, _spill_targets_exist)
