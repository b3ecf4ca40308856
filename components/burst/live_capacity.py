"""How many instances an endpoint has right now: asked once, before a deployment."""

from __future__ import annotations


def live_instances(endpoint: str, variant: str, region: str, endpoint_url: str | None = None) -> int | None:
    """The variant's desired instance count, or ``None`` where the endpoint does not exist yet.

    Other failures are raised: a deployment that does not know the live count must not guess it. Needs boto3.
    """
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client("sagemaker", region_name=region, endpoint_url=endpoint_url)
    try:
        answer = client.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in error.response["Error"].get("Message", ""):
            return None
        raise
    for found in answer.get("ProductionVariants", ()):
        if found["VariantName"] == variant:
            return found.get("DesiredInstanceCount") or found.get("CurrentInstanceCount")
    return None
