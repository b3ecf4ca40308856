"""What somebody may do who sends P2 batches to the asynchronous endpoint."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws_documents import allow, policy
from components.base import Component


@dataclass(frozen=True)
class ClientPrefixes:
    """Keys in the bucket begin so, each with a slash at its end."""

    requests: str
    results: str
    failures: str


def client_policy(
    component: Component,
    name: str,
    keys: ClientPrefixes,
    bucket_arn: pulumi.Input[str],
    endpoint_arn: pulumi.Input[str],
    key_arn: pulumi.Input[str],
) -> aws.iam.Policy:
    """Put a request, have it worked on, get its result: to be attached to the role of whoever sends batches."""
    answers = (keys.results, keys.failures)

    def document(found: list[str]) -> str:
        bucket, endpoint, key = found
        return policy(
            allow("Request", ["s3:PutObject"], f"{bucket}/{keys.requests}*"),
            allow("Submit", ["sagemaker:InvokeEndpointAsync"], endpoint),
            allow("Results", ["s3:GetObject"], [f"{bucket}/{one}*" for one in answers]),
            # Without it a result that is not there yet is a 403, as if it were forbidden.
            allow("Wait", ["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": [f"{one}*" for one in answers]}}),
            allow("Key", ["kms:Decrypt", "kms:GenerateDataKey"], key),
        )

    return aws.iam.Policy(
        f"{name}-async-client",
        description="Sends P2 requests to the asynchronous endpoint and fetches their results",
        policy=pulumi.Output.all(bucket_arn, endpoint_arn, key_arn).apply(document),
        tags=component.context.tags,
        opts=component.child(),
    )
