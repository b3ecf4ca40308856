"""The live count: read where it can be, guessed nowhere."""

from __future__ import annotations

from typing import Any

import boto3
import pulumi
import pytest
from moto.sagemaker.models import sagemaker_backends

from components.burst.sagemaker.live_capacity import FailedEndpointError, live_instances
from components.burst.unread_capacity import LiveCapacityError
from spillway.twin.data_plane.processes.child import free_port


def deploy(count: int, name: str = "burst-ml-g5-xlarge") -> None:
    client = boto3.client("sagemaker", region_name="eu-west-1")
    role = "arn:aws:iam::123456789012:role/r"
    client.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer={"Image": "i"})
    variant = {"VariantName": "primary", "ModelName": name, "InstanceType": "ml.g4dn.xlarge", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    wanted = [{"VariantName": "primary", "DesiredInstanceCount": count}]
    client.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=wanted)


def test_it_is_what_autoscaling_has_asked_for(aws: None) -> None:
    deploy(7, "another-burst-ml-g5-xlarge")
    assert live_instances("burst-", "primary", "eu-west-1") is None, "nothing of ours is deployed yet"
    deploy(3)
    assert live_instances("burst-", "primary", "eu-west-1") == 3


def test_an_endpoint_whose_creation_failed_is_named_with_the_remedy(aws: None) -> None:
    deploy(1)
    made: Any
    [made] = sagemaker_backends["123456789012"]["eu-west-1"].endpoints.values()
    made.endpoint_status, made.failure_reason = "Failed", "ResourceLimitExceeded"
    with pytest.raises(FailedEndpointError, match=r"burst-ml-g5-xlarge has failed .*spillway sweep"):
        live_instances("burst-", "primary", "eu-west-1")


def test_a_preview_goes_on_without_it_and_an_update_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    assert live_instances("burst", "primary", "eu-west-1") is None
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    with pytest.raises(LiveCapacityError, match=r"burst\* cannot be read.*sagemaker:DescribeEndpoint"):
        live_instances("burst", "primary", "eu-west-1")
