"""A verdict as SARIF 2.1.0, which code hosts show beside the change: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""

from __future__ import annotations

from typing import Any, Final

from policies.catalogue import ALL
from policies.judge import Exempted, Verdict, Violation, remedy
from policies.policy import Finding, Policy

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final = {"mandatory": "error", "advisory": "warning", "disabled": "none"}
_SEVERITY: Final = {"low": "3.0", "medium": "5.5", "high": "8.0", "critical": "9.5"}
"""Scores of the ranges that code hosts sort by."""
_INDEX: Final = {policy.name: index for index, policy in enumerate(ALL)}


def sarif(verdict: Verdict, stack_file: str, version: str) -> dict[str, Any]:
    """``stack_file``: path of the stack file from the repository's root; findings are shown there."""
    driver = {
        "name": "spillway",
        "version": version,
        "rules": [_rule(policy) for policy in ALL],
    }
    results = [
        *(_violation(violation, stack_file) for violation in verdict.violations),
        *(_exempted(exempted, stack_file) for exempted in verdict.exempted),
    ]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(policy: Policy) -> dict[str, Any]:
    return {
        "id": policy.name,
        "shortDescription": {"text": policy.description},
        "help": {"text": policy.remediation},
        "defaultConfiguration": {"level": _LEVELS[policy.level], "enabled": policy.level != "disabled"},
        "properties": {"security-severity": _SEVERITY[policy.severity]},
    }


def _violation(violation: Violation, stack_file: str) -> dict[str, Any]:
    return {**_result(violation.policy, violation.finding, stack_file), "level": _LEVELS[violation.level]}


def _exempted(exempted: Exempted, stack_file: str) -> dict[str, Any]:
    suppression = {"kind": "external", "status": "accepted", "justification": exempted.reason}
    return {
        **_result(exempted.policy, exempted.finding, stack_file),
        "level": _LEVELS[exempted.policy.level],
        "suppressions": [suppression],
    }


def _result(policy: Policy, finding: Finding, stack_file: str) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": stack_file}, "region": {"startLine": 1}}
    }
    if finding.resource is not None:
        logical = {
            "name": finding.resource.name,
            "fullyQualifiedName": finding.resource.urn,
            "kind": "resource",
        }
        location["logicalLocations"] = [logical]
    return {
        # A conformance rule below its question: 3.27.5 of the standard lets IDs be hierarchical.
        "ruleId": f"{policy.name}/{finding.rule}" if finding.rule else policy.name,
        "ruleIndex": _INDEX[policy.name],
        "message": {"text": f"{finding.message}. {remedy(policy, finding)}"},
        "locations": [location],
    }
