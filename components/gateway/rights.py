"""What a gateway's Envoy and agent may do in AWS, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.aws_documents import Statement


def burst_rights(endpoint_arns: Sequence[str], cutoff_parameter_arn: str | None) -> list[Statement]:
    """Invoke the burst endpoints, see their status, read the spill cut-off."""
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
    if cutoff_parameter_arn:
        statements.append(
            {
                "Sid": "SpillCutoff",
                "Effect": "Allow",
                "Action": "ssm:GetParameter",
                "Resource": cutoff_parameter_arn,
            }
        )
    return list(statements)


def heartbeat_right(namespace: str) -> Statement:
    """Publish metrics of one namespace; CloudWatch has no narrower resource."""
    return {
        "Sid": "Heartbeat",
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}},
    }
