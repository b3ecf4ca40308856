"""``check``, and the policies that ``preview`` and ``up`` run: the pack of ``policies/`` over an engine's plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from policies.catalogue import ALL
from policies.checkpoint import resources_of
from policies.judge import Verdict, Violation, judge
from policies.resources import UNKNOWN, Context, Resource
from policies.settings import read_config
from spillway.cli.console import DeploymentProgress, Reporter
from spillway.cli.deploy import plan_afresh, preview_stack
from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.cli.stack import SECRETS_NAMESPACE, Stack
from spillway.contracts.settings import Settings
from spillway.engine import api
from spillway.twin.protocol_values import ResourceRef, unwrap
from spillway.twin.standin import UNKNOWN as ENGINE_UNKNOWN
from spillway.twin.standin import Secret

_MASKED: Final = "[secret]"
"""What the Pulumi CLI's events show of a secret."""
_ALONE: Final = tuple(policy for policy in ALL if not policy.whole_stack)


@dataclass(frozen=True)
class StackPolicies:
    """The pack, as a stack configures it: what an engine takes as its ``policies``."""

    settings: Settings
    context: Context

    def __call__(self, resources: Sequence[api.Resource], *, whole: bool = True) -> list[api.Violation]:
        verdict = judge(records(resources), self.settings, self.context, ALL if whole else _ALONE)
        return [_violation(violation) for violation in verdict.violations]


def policies_of(stack: Stack, more_secrets: Mapping[str, str]) -> StackPolicies:
    """The pack for one stack. ``more_secrets``: those that the twin made, by config key.

    Raises ``pydantic.ValidationError`` where the stack file's ``policies:`` is wrong; the program tells that better.
    """
    settings, context = read_config(stack.config.values, stack.project.root)
    own = f"{SECRETS_NAMESPACE}:"
    held = [v for key, v in stack.config.values.items() if key in stack.config.secret_keys or key.startswith(own)]
    secrets = frozenset(text for secret in (*held, *more_secrets.values()) for text in _texts_of(secret))
    return StackPolicies(settings, replace(context, secrets=secrets))


def _texts_of(secret: str) -> list[str]:
    """A secret as it is, and where it is JSON, those of its values that are the secret part."""
    try:
        value = json.loads(secret)
    except ValueError:
        return [secret]
    parts = value.items() if isinstance(value, dict) else ()
    return [secret, *(str(part) for name, part in parts if "secret" in name or "password" in name)]


def records(resources: Sequence[api.Resource]) -> list[Resource]:
    """Resources of an engine as the pack sees them."""
    regions = {resource.urn: unwrap(resource.inputs).get("region") for resource in resources}
    return [
        Resource(
            type=resource.type,
            name=resource.name,
            urn=resource.urn,
            props=_plain(resource.inputs, hide=False),
            id=resource.id,
            protect=resource.protect,
            parent=resource.parent,
            # The Pulumi CLI's events do not tell dependencies.
            dependencies=frozenset(resource.dependencies) or None,
            region=str(regions.get(resource.provider) or ""),
            clear=_plain(resource.inputs, hide=True),
        )
        for resource in resources
        if resource.custom
    ]


def _plain(value: Any, *, hide: bool) -> Any:
    if value is ENGINE_UNKNOWN or (hide and (isinstance(value, Secret) or value == _MASKED)):
        return UNKNOWN
    if isinstance(value, Secret):
        return _plain(value.value, hide=hide)
    if isinstance(value, ResourceRef):
        return unwrap(value)
    if isinstance(value, dict):
        return {key: _plain(item, hide=hide) for key, item in value.items()}
    return [_plain(item, hide=hide) for item in value] if isinstance(value, list) else value


def _violation(violation: Violation) -> api.Violation:
    resource = violation.finding.resource
    message = f"{violation.finding.message}. {violation.policy.remediation}"
    return api.Violation(
        violation.policy.name, resource.urn if resource else "", message, violation.level == "mandatory"
    )


# --- the command -------------------------------------------------------------------------------------------------


def check(stack: Stack, checkpoint: Path | None, reporter: Reporter) -> Verdict:
    """Judge the stack's plan and what a checkpoint says of it: ``checkpoint``, else the twin's own where it has one.

    Needs no credentials and changes nothing. Raises :class:`CommandError` for a file that is no checkpoint.
    """
    path = checkpoint or stack.state_dir / f"{stack.name}.json"
    with preview_stack(stack) as used:
        planned = plan_afresh(used, reporter, DeploymentProgress(reporter))
        with reporter.phase(f"{len(ALL)} policies"):
            configured = policies_of(used, used.twin_secrets(used.known_endpoints()["kubernetes"]))
            plan = judge(records(planned.resources), configured.settings, configured.context)
            if checkpoint is None and not path.is_file():
                return plan
            return _both(plan, judge(_read(path), configured.settings, configured.context))


def _read(path: Path) -> list[Resource]:
    try:
        return resources_of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, AttributeError) as error:
        raise CommandError(f"--checkpoint {path}: {error}", WRONG_CONFIG) from None


def _both(plan: Verdict, deployed: Verdict) -> Verdict:
    """The plan's findings, and those that only show in what is deployed."""

    def key(found: Any) -> tuple[str, str, str]:
        resource = found.finding.resource
        return found.policy.name, resource.name if resource else "", found.finding.message

    told = {key(found) for found in (*plan.violations, *plan.exempted)}
    more = tuple(violation for violation in deployed.violations if key(violation) not in told)
    return Verdict((*plan.violations, *more), plan.exempted, plan.ran)


def verdict_json(verdict: Verdict, stack: Stack) -> dict[str, Any]:
    return {
        "stack": stack.name,
        "passed": not verdict.mandatory,
        "policies": verdict.ran,
        "violations": [
            {
                "policy": violation.policy.name,
                "level": violation.level,
                "severity": violation.policy.severity,
                "resource": _name(violation),
                "urn": violation.finding.resource.urn if violation.finding.resource else None,
                "message": violation.finding.message,
                "remediation": violation.policy.remediation,
            }
            for violation in verdict.violations
        ],
        "exempted": [
            {"policy": e.policy.name, "resource": _name(e), "message": e.finding.message, "reason": e.reason}
            for e in verdict.exempted
        ],
    }


def verdict_text(verdict: Verdict) -> list[Any]:
    """A table of violations with their remedies, the exemptions, and one line that sums up."""
    from rich.table import Table

    parts: list[Any] = []
    if verdict.violations:
        table = Table("Level", "Policy", "Resource", "Fault", "How to mend it", title="Violations", show_lines=True)
        for violation in verdict.violations:
            message, remedy = violation.finding.message, violation.policy.remediation
            table.add_row(violation.level, violation.policy.name, _name(violation), message, remedy)
        parts.append(table)
    if verdict.exempted:
        table = Table("Policy", "Resource", "Reason", title="Exempt by the stack file")
        rows = {(e.policy.name, _name(e), e.reason): None for e in verdict.exempted}
        for row in rows:
            table.add_row(*row)
        parts.append(table)
    mandatory = len(verdict.mandatory)
    advisory = len(verdict.violations) - mandatory
    told = f"{verdict.ran} policies: {mandatory} mandatory and {advisory} advisory violations"
    return [*parts, f"{told}, {len(verdict.exempted)} exempt."]


def _name(found: Any) -> str:
    return found.finding.resource.name if found.finding.resource else "stack"


def write_sarif(verdict: Verdict, stack: Stack, path: Path) -> None:
    """The verdict for a code host."""
    from importlib.metadata import version

    from policies.sarif import sarif

    stack_file = stack.project.stack_file(stack.name).relative_to(stack.project.root)
    report = sarif(verdict, stack_file.as_posix(), version("spillway"))
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
