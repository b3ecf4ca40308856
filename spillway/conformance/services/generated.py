"""Rules made from the services' own models: one for each generated file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Finding, Rule, Source
from spillway.conformance.services.members import Members

_HERE: Final = Path(__file__).parent


def _rule(name: str, says: str, file: str, title: str, url: str) -> Rule:
    model = Members(_HERE / file)

    def check(graph: Graph) -> Iterator[Finding]:
        for resource in graph.of(*model.types()):
            for fault in model.faults(resource):
                yield Finding(name, resource, fault.path, fault.message, fault.remedy)

    version = ", ".join(f"{source} {version}" for source, version in model.sources.items())
    return Rule(name, says, Source(title, url, version), check)


RULES: Final = (
    _rule(
        "aws-call-members",
        "Each member of the call that makes a resource has the pattern, characters, length, range and value that the "
        "operation's model demands.",
        "aws/members.json",
        "botocore's service models and their documentation strings",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html",
    ),
    _rule(
        "aws-cloudformation-schema",
        "What the operation's model leaves open, the resource type's CloudFormation schema demands.",
        "aws/cloudformation.json",
        "CloudFormation resource schemas, as cfn-lint carries them",
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-loggroup.html",
    ),
    _rule(
        "azure-body-members",
        "Each member of the body that makes a resource has a value, pattern, length and range that Resource Manager's "
        "model of it allows; what is required is there.",
        "azure/members.json",
        "the azure-mgmt packages' models of Resource Manager's bodies",
        "https://learn.microsoft.com/en-us/rest/api/resources/",
    ),
    _rule(
        "kubernetes-openapi",
        "Each object fits the schema of its kind: known fields, types, choices, ports, names and labels.",
        "kubernetes/members.json",
        "Kubernetes' OpenAPI and the CustomResourceDefinitions of the custom kinds",
        "https://kubernetes.io/docs/reference/kubernetes-api/",
    ),
)
