"""DNS and the standby gateway: the combination is one that is supported, and its name can be proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from components.failover_dns.settings import Route53Settings
from spillway.contracts.problems import Problem, key_of
from stacks.settings import StackSettings
from stacks.support import cell


def _supported(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    found = cell(settings.private_cluster.kind, sites, settings.dns.provider)
    if found.refused:
        given = f"private_cluster {found.cluster}, burst {found.burst_said}, dns {found.dns}"
        yield Problem(key_of("dns.provider" if found.burst else "burst"), given, found.refused)


def _traffic_manager_is_public(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if settings.dns.provider == "traffic_manager" and settings.exposure == "internal":
        advice = "Traffic Manager probes only from the Internet; use dns.provider: route53 or exposure: public"
        yield Problem(key_of("dns.provider"), "traffic_manager with exposure: internal", advice)


def _standby_is_there(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if not settings.gateway.standby.enabled:
        advice = f"dns.provider: {settings.dns.provider} would have nothing to fail over to; set it to true"
        yield Problem(key_of("gateway.standby.enabled"), "false", advice)


def _standby_has_a_certificate(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    standby, dns = settings.gateway.standby, settings.dns
    provable = isinstance(dns, Route53Settings) and (settings.exposure == "public" or dns.certificate_zone_id)
    if not standby.enabled or standby.certificate_arn or provable:
        return
    why = "its zone is in Azure" if dns.provider == "traffic_manager" else "the zone of an internal stack is private"
    mend = "give the ARN of an ACM certificate of " + dns.host
    if isinstance(dns, Route53Settings):
        mend += ", or the public zone of the name as dns.certificate_zone_id"
    yield Problem(key_of("gateway.standby.certificate_arn"), "nothing", f"ACM cannot prove the name, {why}; {mend}")


def _private_certificate_is_there(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    tls, kind = settings.gateway.tls, settings.private_cluster.kind
    if tls is None:
        return
    dns = settings.dns
    provable = isinstance(dns, Route53Settings) and (settings.exposure == "public" or dns.certificate_zone_id)
    if tls.cert_manager and not provable:
        mend = "give its public zone in Route 53 as dns.certificate_zone_id, or the PEM files as certificate_secret"
        yield Problem(key_of("gateway.tls.cert_manager"), "an issuer", f"nothing can prove {dns.host}; {mend}")
    if tls.acm and kind != "eks":
        advice = f"ACM's certificates are for AWS's load balancers, and private_cluster is {kind}; give the PEM files"
        yield Problem(key_of("gateway.tls.acm"), "true", f"{advice} as certificate_secret and key_secret")
    if tls.kubernetes_secret and kind != "existing":
        mend = "give cert_manager or acm: true, or " if kind == "eks" else "give cert_manager, or "
        advice = f"nothing makes it in a cluster that this stack makes; {mend}certificate_secret and key_secret"
        yield Problem(key_of("gateway.tls.kubernetes_secret"), repr(tls.kubernetes_secret), advice)


RULES = (
    _supported,
    _traffic_manager_is_public,
    _standby_is_there,
    _standby_has_a_certificate,
    _private_certificate_is_there,
)
