"""SageMaker's burst endpoint and its rollback alarm on a stack's emulated AWS, asked and moved with plain boto3."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from tests.program.site import Site

ENDPOINT = "spillway-test-burst-real-time-ml-g5-xlarge"


def client(made: Site, service: str = "sagemaker") -> Any:
    return boto3.client(
        service,
        endpoint_url=made.servers.endpoints["aws"],
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )


def serving(made: Site, endpoint: str = ENDPOINT) -> tuple[str, int]:
    """The configuration that the endpoint runs, and how many instances that starts with."""
    asked = client(made)
    name = asked.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    (variant,) = asked.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    return name, variant["InitialInstanceCount"]


def answer_5xx(made: Site, values: list[float], endpoint: str = ENDPOINT) -> None:
    """In each of the last minutes and of the next ones, since a rollout on a busy machine begins late; CloudWatch takes
    times up to two hours ahead (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html).
    """
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "primary"}]
    now = datetime.now(UTC)
    for minutes in range(-10, 6):
        data = [
            {
                "MetricName": "Invocation5XXErrors",
                "Dimensions": dimensions,
                "Timestamp": now - timedelta(minutes=minutes),
                "Value": value,
            }
            for value in values
        ]
        client(made, "cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=data)


def alarm(made: Site) -> str:
    """State of the alarm on the endpoint's errors."""
    found = client(made, "cloudwatch").describe_alarms(AlarmNames=["spillway-test-burst-5xx"])
    return found["MetricAlarms"][0]["StateValue"]
