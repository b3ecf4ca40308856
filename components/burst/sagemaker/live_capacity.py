"""How many instances serve right now: asked once, before the endpoint's configuration is registered (ADR 2)."""

from __future__ import annotations

from typing import Any

import pulumi

from components.burst.unread_capacity import taken_for_none


class FailedEndpointError(pulumi.RunError):
    """An endpoint whose creation has failed still has its name: the next creation would be refused, and nobody would
    know why, since the provider keeps a resource only once it is in service."""


def live_instances(endpoints: str, variant: str, region: str) -> int | None:
    """The variant's desired instance count, or ``None`` where nothing is deployed yet.

    ``endpoints``: how the names of the site's endpoints begin. Their ends are instance types, and the endpoint of
    another type starts with as many instances as the one that it replaces.

    AWS is asked with the deployer's own credentials; ``AWS_ENDPOINT_URL`` moves the call, as boto3 documents. A preview
    needs no credentials: what it cannot read is told, and taken for not there. An update raises
    ``LiveCapacityError`` then, or it would bring a scaled-out endpoint back to its minimum. Needs boto3.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return _asked(endpoints, variant, region)
    except (BotoCoreError, ClientError) as error:
        mend = "give the deployer credentials with sagemaker:ListEndpoints and sagemaker:DescribeEndpoint"
        taken_for_none(error, f"the SageMaker endpoints {endpoints}*", mend)
        return None


def _asked(endpoints: str, variant: str, region: str) -> int | None:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 2})
    client: Any = boto3.client("sagemaker", region_name=region, config=config)  # pyright: ignore[reportArgumentType, reportCallIssue]
    pages = client.get_paginator("list_endpoints").paginate(NameContains=endpoints)
    found = [one for page in pages for one in page["Endpoints"] if one["EndpointName"].startswith(endpoints)]
    if failed := [one["EndpointName"] for one in found if one["EndpointStatus"] == "Failed"]:
        why = client.describe_endpoint(EndpointName=failed[0]).get("FailureReason", "SageMaker does not say why")
        raise FailedEndpointError(
            f"the SageMaker endpoint {failed[0]} has failed ({why}): it serves nothing and keeps its name. Mend the"
            " reason, delete it with `spillway sweep -s STACK --delete`, then run `pulumi up --refresh`."
        )
    counts = [_count(client, one["EndpointName"], variant) for one in found]
    return max((count for count in counts if count), default=None)


def _count(client: Any, endpoint: str, variant: str) -> int | None:
    found = client.describe_endpoint(EndpointName=endpoint).get("ProductionVariants", ())
    own = next((one for one in found if one["VariantName"] == variant), {})
    return own.get("DesiredInstanceCount") or own.get("CurrentInstanceCount")
