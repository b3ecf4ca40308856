"""Every right of `prod` on `*` that could be on less, judged: what parliament calls RESOURCE_STAR.

Parliament itself (1.6.4) wants an old setuptools and knows IAM as of its release. Run by hand on these documents it
found, beside the stars below and those of key policies, where `*` is the key: `elasticloadbalancing:ModifyIpPools` and
the conditions `elasticloadbalancing:CreateAction` and `kms:EncryptionContext:...`, all of which AWS documents. Its
other rules are `iam-document-form`, `iam-action-exists` and `iam-action-fits-resource`, by IAM's own definitions.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from spillway.conformance.graph import Graph
from spillway.conformance.services.aws import policies

pytestmark = pytest.mark.heavy

_TYPES = ("aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy")
JUDGED = {
    # As its maintainers publish it (docs/install/iam_policy.json of v3.5.0). Reading only; what it changes is bound by
    # tag or region. Which certificate a Service names, and which VPC it stands in, only the cluster knows.
    ("-balancer-controller-policy", "ec2:GetCoipPoolUsage"),
    ("-balancer-controller-policy", "ec2:GetSecurityGroupsForVpc"),
    ("-balancer-controller-policy", "acm:DescribeCertificate"),
    ("-balancer-controller-policy", "iam:GetServerCertificate"),
    # Metrics are in no resource; a dataset is one of another kind, which nobody here has.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
    ("-cost-signal-rights", "cloudwatch:GetMetricData"),
    ("-private-gateway-policy", "cloudwatch:GetMetricData"),
    ("-standby-task-policy", "cloudwatch:GetMetricData"),
    # Names and states. AWS asks for the right on alarm:* whichever alarms are named, so that a prefix would be refused
    # and the cut-off would never come (aws-samples/amazon-cloudwatch-auto-alarms#1, mattclay/aws-terminator#63).
    ("-cost-cutoff-rights", "cloudwatch:DescribeAlarms"),
}


def test_every_star_is_judged(prod: Graph) -> None:
    found = set()
    for resource in (one for type_ in _TYPES for one in prod.of(type_)):
        for statement in policies.statements(resource.get("policy")):
            everything = statement.get("Effect") == "Allow" and "*" in policies.texts(statement.get("Resource"))
            # A condition says less than everything: a tag, a name space, a region.
            if everything and not statement.get("Condition"):
                end = resource.name.removeprefix("spillway-test")
                found |= {
                    (end, one) for action in policies.texts(statement.get("Action")) for one in could_be_less(action)
                }
    assert found == JUDGED


def could_be_less(action: str) -> set[str]:
    """The actions of a pattern that have resources to be allowed on."""
    service, _, name = action.partition(":")
    known = policies.definitions()["services"].get(service.lower(), {})
    matching = {each for each, kinds in known.items() if kinds and fnmatchcase(each, name.lower())}
    return {action} if matching and "*" not in name else {f"{service}:{each}" for each in matching}


def test_a_star_where_an_arn_would_do_is_seen() -> None:
    assert could_be_less("s3:GetObject") == {"s3:GetObject"}
    assert "sqs:sendmessage" in could_be_less("sqs:Send*")
    # Of no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
    assert could_be_less("ecr:GetAuthorizationToken") == set()
