"""Properties held against the services' own models."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.contracts.resources import UNKNOWN
from spillway.twin.aws.services import ROWS as AWS
from spillway.twin.azure.services import ROWS as AZURE
from tests.conformance.support import found, made

CALLS, SCHEMA, TOGETHER = "aws-call-members", "aws-cloudformation-schema", "aws-property-combinations"
BODIES, OPENAPI = "azure-body-members", "kubernetes-openapi"

CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], str, str]] = {
    # IPRule.value, azure-mgmt-storage: Pulumi and the SDK call it as x-ms-client-name does, IPAddressOrRange.
    "a member with a client's name": (
        BODIES,
        "azure-native:storage:StorageAccount",
        {"networkRuleSet": {"defaultAction": "Deny", "ipRules": [{"iPAddressOrRange": "198.51.100.7"}]}},
        {"networkRuleSet": {"defaultAction": "Deny", "ipRules": [{"action": "Allow"}]}},
        "networkRuleSet.ipRules.0.iPAddressOrRange",
        "is required",
    ),
    # CreateSecurityGroupRequest.Description, botocore ec2 2016-11-15: "Valid characters: a-z, A-Z, 0-9, spaces, and
    # ._-:/()#,@[]+=&;{}!$*", "Up to 255 characters in length".
    "characters": (
        CALLS,
        "aws:ec2/securityGroup:SecurityGroup",
        {"description": "Machine of the deployer: it calls APIs (HTTPS, 443) & no other; a=[b] {c}!$*"},
        {"description": "The deployer's machine"},
        "description",
        "does not take the characters '",
    ),
    "characters of a rule inside": (
        CALLS,
        "aws:ec2/securityGroup:SecurityGroup",
        {"ingress": [{"description": "clients", "protocol": "tcp"}]},
        {"ingress": [{"description": "clients"}, {"description": "the client's way"}]},
        "ingress.1.description",
        "IpRange.Description",
    ),
    "characters of a rule beside": (
        CALLS,
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        {"description": "to S3"},
        {"description": "to S3 – objects"},
        "description",
        "–",
    ),
    # EndpointName, botocore sagemaker: "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}".
    "pattern": (
        CALLS,
        "aws:sagemaker/endpoint:Endpoint",
        {"name": "spillway-prod", "endpointConfigName": "c"},
        {"name": "spillway_prod", "endpointConfigName": "c"},
        "name",
        "CreateEndpointInput.EndpointName",
    ),
    # EndpointConfigName has the same pattern; ProductionVariantInstanceType is an enumeration.
    "enumeration inside": (
        CALLS,
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        {"productionVariants": [{"instanceType": "ml.g5.xlarge"}]},
        {"productionVariants": [{"instanceType": "ml.g5.tiny"}]},
        "productionVariants.0.instanceType",
        "ProductionVariant.InstanceType",
    ),
    # ReservedConcurrentExecutions has min 0, MaximumRetryAttempts has min 0 and max 2, botocore lambda.
    "range": (
        CALLS,
        "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        {"functionName": "f", "maximumRetryAttempts": 2},
        {"functionName": "f", "maximumRetryAttempts": 3},
        "maximumRetryAttempts",
        "0 to 2",
    ),
    # CreateScheduleInput.Name has max 64, botocore scheduler.
    "length": (
        CALLS,
        "aws:scheduler/schedule:Schedule",
        {"name": "n" * 64, "scheduleExpression": "rate(1 minute)"},
        {"name": "n" * 65, "scheduleExpression": "rate(1 minute)"},
        "name",
        "has 65 characters",
    ),
    # CreateLoadBalancerInput.Name: "a maximum of 32 characters, must contain only alphanumeric characters or hyphens".
    "length in words": (
        CALLS,
        "aws:lb/loadBalancer:LoadBalancer",
        {"name": "n" * 32},
        {"name": "n" * 33},
        "name",
        "at most 32",
    ),
    # Tag.Key of most services has max 128, Tag.Value 256.
    "tags": (
        CALLS,
        "aws:sagemaker/model:Model",
        {"tags": {"owner": "x" * 256}},
        {"tags": {"owner": "x" * 257}},
        "tags.owner",
        "at most 256",
    ),
    "required": (
        CALLS,
        "aws:sns/topicSubscription:TopicSubscription",
        {"topic": "arn:aws:sns:eu-west-1:123456789012:t", "protocol": "email"},
        {"topic": "arn:aws:sns:eu-west-1:123456789012:t"},
        "protocol",
        "required",
    ),
    # AWS::Logs::LogGroup RetentionInDays: 1, 3, 5, 7, 14, 30, ...; botocore's model has an integer only.
    "choice in the schema alone": (
        SCHEMA,
        "aws:cloudwatch/logGroup:LogGroup",
        {"retentionInDays": 14},
        {"retentionInDays": 15},
        "retentionInDays",
        "AWS::Logs::LogGroup RetentionInDays",
    ),
    # ActionGroupResource.group_short_name, azure-mgmt-monitor: max_length 12.
    "length in a body": (
        BODIES,
        "azure-native:monitor:ActionGroup",
        {"groupShortName": "s" * 12, "enabled": True},
        {"groupShortName": "s" * 13, "enabled": True},
        "groupShortName",
        "at most 12",
    ),
    # StorageAccountCreateParameters.minimum_tls_version is one of TLS1_0 to TLS1_3; the case does not count.
    "choice in any case": (
        BODIES,
        "azure-native:storage:StorageAccount",
        {"kind": "storagev2", "sku": {"name": "Standard_ZRS"}, "minimumTlsVersion": "TLS1_2"},
        {"kind": "storagev2", "sku": {"name": "Standard_ZRS"}, "minimumTlsVersion": "SSL3"},
        "minimumTlsVersion",
        "TLS1_2",
    ),
    "required inside a body": (
        BODIES,
        "azure-native:storage:StorageAccount",
        {"kind": "StorageV2", "sku": {"name": "Standard_ZRS"}},
        {"kind": "StorageV2", "sku": {"tier": "Standard"}},
        "sku.name",
        "required",
    ),
    # azure-mgmt-machinelearningservices: Compute is one of nine kinds by computeType; AmlCompute's vm priority an enum.
    "choice in one of several kinds": (
        BODIES,
        "azure-native:machinelearningservices:Compute",
        {"properties": {"computeType": "AmlCompute", "properties": {"vmPriority": "Dedicated"}}},
        {"properties": {"computeType": "AmlCompute", "properties": {"vmPriority": "Cheap"}}},
        "properties.properties.vmPriority",
        "Dedicated",
    ),
    "no such kind": (
        BODIES,
        "azure-native:machinelearningservices:Compute",
        {"properties": {"computeType": "AmlCompute"}},
        {"properties": {"computeType": "Abacus"}},
        "properties.computeType",
        "amlcompute",
    ),
    # azure-mgmt-machinelearningservices' operations: workspace_name "^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$".
    "name in the path": (
        BODIES,
        "azure-native:machinelearningservices:Datastore",
        {"workspaceName": "w" * 33},
        {"workspaceName": "w" * 34},
        "workspaceName",
        "has to match",
    ),
    "unknown field": (
        OPENAPI,
        "kubernetes:apps/v1:Deployment",
        {"spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}},
        {"spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "a", "immage": "b"}]}}}},
        "spec.template.spec.containers.0.immage",
        "no field",
    ),
    # "This must be a valid port number, 0 < x < 65536."
    "port": (
        OPENAPI,
        "kubernetes:core/v1:Pod",
        {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 65535}]}]}},
        {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 65536}]}]}},
        "spec.containers.0.ports.0.containerPort",
        "1 to 65535",
    ),
    # "Name of the container specified as a DNS_LABEL."
    "name of a container": (
        OPENAPI,
        "kubernetes:core/v1:Pod",
        {"spec": {"containers": [{"name": "a-b"}]}},
        {"spec": {"containers": [{"name": "a.b"}]}},
        "spec.containers.0.name",
        "Container.name",
    ),
    "name of an object": (
        OPENAPI,
        "kubernetes:core/v1:ConfigMap",
        {"metadata": {"name": "a.b-c"}},
        {"metadata": {"name": "A_b"}},
        "metadata.name",
        "ObjectMeta.name",
    ),
    "name of a namespace": (
        OPENAPI,
        "kubernetes:core/v1:Namespace",
        {"metadata": {"name": "n" * 63}},
        {"metadata": {"name": "n" * 64}},
        "metadata.name",
        "ObjectMeta.name",
    ),
    "value of a label": (
        OPENAPI,
        "kubernetes:core/v1:ConfigMap",
        {"metadata": {"labels": {"app.kubernetes.io/name": "v" * 63}}},
        {"metadata": {"labels": {"app.kubernetes.io/name": "v" * 64}}},
        "metadata.labels.app.kubernetes.io/name",
        "has to match",
    ),
    "key of a label": (
        OPENAPI,
        "kubernetes:core/v1:ConfigMap",
        {"metadata": {"labels": {"a.b/c": ""}}},
        {"metadata": {"labels": {"a/b/c": ""}}},
        "metadata.labels.a/b/c",
        "has to match",
    ),
    "type": (
        OPENAPI,
        "kubernetes:apps/v1:Deployment",
        {"spec": {"selector": {}, "template": {}, "replicas": 2.0}},
        {"spec": {"selector": {}, "template": {}, "replicas": "two"}},
        "spec.replicas",
        "integer",
    ),
    "custom kind": (
        OPENAPI,
        "kubernetes:monitoring.coreos.com/v1:PodMonitor",
        {"spec": {"selector": {}, "podMetricsEndpoints": [{"scheme": "https"}]}},
        {"spec": {"selector": {}, "podMetricsEndpoints": [{"scheme": "gopher"}]}},
        "spec.podMetricsEndpoints.0.scheme",
        "http, https",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_service_takes_passes(case: str) -> None:
    rule, type_, good, _, path, _ = CASES[case]
    assert [each for each in found(rule, made(type_, good)) if each.path == path] == []


@pytest.mark.parametrize("case", CASES)
def test_what_the_service_refuses_is_named(case: str) -> None:
    rule, type_, _, bad, path, message = CASES[case]
    [finding] = [each for each in found(rule, made(type_, bad)) if each.path == path]
    assert message in finding.message


def test_a_value_is_never_repeated() -> None:
    parameter = made("aws:ssm/parameter:Parameter", {"name": "it", "type": "hunter2", "value": "hunter2"})
    findings = found(CALLS, parameter)
    assert {each.path for each in findings} == {"type"}
    assert all("hunter2" not in each.message + each.remedy for each in findings)


SAMPLES = [
    *[
        (rule, row.token, sample)
        for row in AWS.values()
        for sample in row.samples
        for rule in (CALLS, SCHEMA, TOGETHER)
    ],
    *[(BODIES, row.token, row.sample) for row in AZURE],
]


@pytest.mark.parametrize(("rule", "type_", "sample"), SAMPLES)
def test_what_a_real_server_takes_passes(rule: str, type_: str, sample: Any) -> None:
    """The twin's examples: each is made on a server in its own tests."""
    assert found(rule, made(type_, _known(dict(sample.inputs)))) == []


def _known(value: Any) -> Any:
    """References to other examples are not known here."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return UNKNOWN if isinstance(value, str) and "$" in value else value
