"""What a gateway's Envoy and agent may do in AWS, and who gets its certificate, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.aws_documents import Statement, allow, partition
from spillway.contracts import aws_token as token
from spillway.contracts.answer_cache import ANSWERS_PREFIX


def burst_rights(
    endpoint_arns: Sequence[str], parameter_arns: Sequence[str], *, tokens: bool = False
) -> list[Statement]:
    """Invoke the burst endpoints, see their status, read what the cost guard says. ``tokens``: some of them take a
    token."""
    statements: list[dict[str, Any]] = []
    if endpoint_arns:
        actions = ["InvokeEndpoint", "InvokeEndpointWithResponseStream", "DescribeEndpoint"]
        statements.append(
            {
                "Sid": "BurstEndpoints",
                "Effect": "Allow",
                "Action": [f"sagemaker:{action}" for action in actions],
                "Resource": list(endpoint_arns),
            }
        )
    if endpoint_arns and tokens:
        # It has no resource: what a token may call is what its maker may (the statement above).
        # https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html
        statements.append(
            {
                "Sid": "BurstTokens",
                "Effect": "Allow",
                "Action": f"sagemaker:{token.ACTION}",
                "Resource": "*",
                # Who reads a bearer token has it.
                "Condition": {"Bool": {"aws:SecureTransport": "true"}},
            }
        )
    if parameter_arns:
        statements.append(
            {
                "Sid": "CostGuard",
                "Effect": "Allow",
                "Action": "ssm:GetParameter",
                "Resource": list(parameter_arns),
            }
        )
    return list(statements)


def cache_rights(region: str, bucket: str | None) -> list[list[Statement]]:
    """Read and write answers in a bucket, where there is one."""
    if bucket is None:
        return []
    answers = f"arn:{partition(region)}:s3:::{bucket}/{ANSWERS_PREFIX}*"
    return [[allow("Answers", ["s3:GetObject", "s3:PutObject"], answers)]]


def metrics_rights(namespace: str) -> list[Statement]:
    """Publish metrics of one namespace, and read what clients have used. CloudWatch has no narrower resource, and
    reading knows no namespace
    (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html)."""
    tell = {
        "Sid": "Metrics",
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}},
    }
    read = {"Sid": "Quotas", "Effect": "Allow", "Action": "cloudwatch:GetMetricData", "Resource": "*"}
    return [tell, read]


def zone_rights(region: str, zone_id: str) -> list[Statement]:
    """What proves a name: a text record, and waiting for it. With the zone's ID no list of zones is asked for."""
    part = partition(region)
    texts = {"ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsRecordTypes": ["TXT"]}}
    zone = f"arn:{part}:route53:::hostedzone/{zone_id}"
    return [
        allow("Wait", ["route53:GetChange"], f"arn:{part}:route53:::change/*"),
        allow("Look", ["route53:ListResourceRecordSets"], zone),
        allow("Prove", ["route53:ChangeResourceRecordSets"], zone, texts),
    ]
