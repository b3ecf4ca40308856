"""Make ``spillway/conformance/services/aws/iam.json``: which actions there are, and what each may be allowed on.

From the IAM definitions that cfn-lint carries, of the services that the twin knows and those that their roles use.
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
secretsmanager sns sqs ssm ssmmessages sts wafv2 xray
"""


def document() -> str:
    """The file's text. ``services``: name → action in lower case → prefixes of the resources that it is for."""
    source = files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(source)
    services = {name: _actions(found[name]) for name in sorted(_SERVICES.split())}
    return text({"sources": {"cfn-lint": version("cfn-lint")}, "services": services})


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
