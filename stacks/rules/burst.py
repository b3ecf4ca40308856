"""Burst sites: what is wrong with each by itself, with the names that others call them by, and with the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from components.burst.sites import SITES
from spillway.contracts.classes import Site
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of, nearest
from spillway.contracts.targets import Layout
from stacks.settings import StackSettings


def _sites_own(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    for site in sites:
        yield from site.problems()


def _names_are_sites(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """A misspelt name would be a site that nothing is ever sent to. One that is off is no mistake."""
    known = [*dict.fromkeys((*(kind.name for kind in SITES), *(site.name for site in sites)))]
    gateway = settings.gateway
    for request_class, chosen in gateway.classes:
        for index, name in enumerate(chosen.spill_to or ()):
            if name not in known:
                advice = f"{nearest(name, known)}allowed: {', '.join(known)}"
                yield Problem(key_of(f"gateway.classes.{request_class}.spill_to[{index}]"), repr(name), advice)
    places = [Site.PRIVATE.value, *known]
    for name in gateway.slots:
        if name not in places:
            advice = f"{nearest(name, places)}allowed: {', '.join(places)}"
            yield Problem(key_of(f"gateway.slots.{name}"), "an unknown site", advice)


def _vpn_leads_there(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    """Both VPNs end in your network: none joins the VPC, where gateways stand, with a network of Azure."""
    behind = [site for site in sites if site.account == "azure"]
    if settings.connectivity.burst_egress != "vpn" or not behind:
        return
    what = f"burst.{behind[0].name}"
    if settings.private_cluster.kind == "eks":
        advice = (
            f"the private gateway stands in AWS, and neither a way nor a name leads from there to the private endpoint "
            f"of {behind[0].title}; use public_with_key, or leave {what} out"
        )
        yield Problem(key_of("connectivity.burst_egress"), f"vpn with kind: eks and {what}", advice)
    elif len(behind) == len(sites):
        advice = "the standby gateway, in AWS, would reach no site; use public_with_key, or add a site in AWS"
        yield Problem(key_of("connectivity.burst_egress"), f"vpn with {what} alone", advice)


RULES = (_sites_own, _names_are_sites, _vpn_leads_there)


def _sites_serve_it(sites: Sequence[BurstSite], manifest: Manifest) -> Iterator[Problem]:
    for site in sites:
        yield from site.package_problems(manifest)


def _sites_have_layouts(sites: Sequence[BurstSite], manifest: Manifest) -> Iterator[Problem]:
    for name, of_triton in [(Site.PRIVATE.value, Layout.TRITON), *((site.name, site.layout) for site in sites)]:
        layout = manifest.layout(of_triton)
        if layout not in manifest.served:
            given = f"a package for {', '.join(sorted(manifest.served))}"
            advice = (
                f"the site {name} serves {layout}/, which {manifest.name} lacks; name a target that reads it in "
                "model.yaml and package the model again"
            )
            yield Problem(key_of("package.path"), given, advice)


PACKAGE_RULES = (_sites_serve_it, _sites_have_layouts)
