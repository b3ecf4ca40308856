"""DNS: clients move quickly when a site is gone, and never to a site that nobody checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_true, number
from policies.rules.cost import TRAFFIC_MANAGER_PROFILES


class TtlSettings(PolicySettings):
    """How long a resolver may keep an answer."""

    max_ttl_s: Annotated[int, Field(ge=1)] = 60
    """Seconds. Failover takes at least as long as the TTL after it was detected."""


_RECORD = "aws:route53/record:Record"


def _ttl(stack: Stack, settings: TtlSettings) -> Iterator[Finding]:
    for record in stack.of(_RECORD):
        if (number(record.get("ttl")) or 0) > settings.max_ttl_s:
            yield Finding(record, f"ttl has to be at most {settings.max_ttl_s} s")
    for profile in stack.of(*TRAFFIC_MANAGER_PROFILES):
        if (number(profile.get("dnsConfig.ttl")) or 0) > settings.max_ttl_s:
            yield Finding(profile, f"dnsConfig.ttl has to be at most {settings.max_ttl_s} s")


def _checked(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for record in stack.of(_RECORD):
        primary = any(policy.get("type") == "PRIMARY" for policy in entries(record.get("failoverRoutingPolicies")))
        asks_target = any(is_true(alias.get("evaluateTargetHealth")) for alias in entries(record.get("aliases")))
        if primary and is_missing(record.get("healthCheckId")) and not asks_target:
            yield Finding(record, "healthCheckId is missing: nothing ever moves clients away from it")
    for profile in stack.of(*TRAFFIC_MANAGER_PROFILES):
        if is_missing(profile.get("monitorConfig")):
            yield Finding(profile, "monitorConfig is missing: nothing ever moves clients away from an endpoint")


POLICIES = (
    Policy(
        "dns-ttl",
        "Answers of DNS are short-lived, so that clients follow a failover.",
        "Lower `dns.ttl_s` in the stack file.",
        _ttl,
        TtlSettings,
    ),
    Policy(
        "failover-health-check",
        "The primary failover record has a health check.",
        "Give the record a health check; for a private site, one that follows its heartbeat alarm.",
        _checked,
        severity="high",
    ),
)
