"""What no endpoint serves any more goes, and nothing that one may still roll back to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.s3.models import s3_backends
from moto.sagemaker.models import sagemaker_backends

from components.burst.sagemaker.old_fleets import OldFleets, sweep, unserved

PREFIX, BUCKET = "spillway-prod", "spillway-prod-models"
SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        sagemaker, s3 = (boto3.client(name, region_name="us-east-1") for name in ("sagemaker", "s3"))
        s3.create_bucket(Bucket=BUCKET)
        for version in ("1", "2", "3"):
            release(sagemaker, s3, version)
        yield sagemaker, s3


def release(sagemaker: Any, s3: Any, version: str) -> None:
    key = f"packages/minilm/{version}/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"-")
    stored: Any = s3_backends["123456789012"]["aws"].get_object(BUCKET, key)
    stored.last_modified += timedelta(seconds=int(version))
    name = f"{PREFIX}-burst-model-{version}"
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
        PrimaryContainer={"Image": "i", "ModelDataUrl": f"s3://{BUCKET}/{key}"},
    )
    variant = {"VariantName": "primary", "ModelName": name, "InstanceType": "ml.g4dn.xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{PREFIX}-burst-real-time-{version}", ProductionVariants=[variant]
    )


def serve(sagemaker: Any, version: str) -> None:
    sagemaker.create_endpoint(
        EndpointName=f"{PREFIX}-burst-real-time-ml-g4dn-xlarge",
        EndpointConfigName=f"{PREFIX}-burst-real-time-{version}",
    )


def test_the_version_that_an_endpoint_rolled_back_to_stays(clients: tuple[Any, Any]) -> None:
    serve(clients[0], "1")
    found = unserved(*clients, PREFIX, BUCKET, SOON)
    assert found.configurations == (f"{PREFIX}-burst-real-time-2", f"{PREFIX}-burst-real-time-3")
    assert found.models == (f"{PREFIX}-burst-model-2", f"{PREFIX}-burst-model-3")
    assert found.packages == ("packages/minilm/2/",), "the private site serves the newest"

    sweep(*clients, BUCKET, found)
    kept = [one["Key"] for one in clients[1].list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert kept == ["packages/minilm/1/model.tar.gz", "packages/minilm/3/model.tar.gz"]
    assert unserved(*clients, PREFIX, BUCKET, SOON).models == ()
    assert [one["ModelName"] for one in clients[0].list_models()["Models"]] == [f"{PREFIX}-burst-model-1"]


def test_what_is_young_or_of_another_stack_stays(clients: tuple[Any, Any]) -> None:
    young = unserved(*clients, PREFIX, BUCKET, datetime.now(UTC) - timedelta(days=1))
    assert young == OldFleets((), (), (), ())
    other = unserved(*clients, "prod", "no-such-bucket", SOON)
    assert other == OldFleets((), (), (), ())


def test_a_failed_endpoint_goes_whatever_its_age_and_serves_nothing(clients: tuple[Any, Any]) -> None:
    serve(clients[0], "1")
    [made] = sagemaker_backends["123456789012"]["us-east-1"].endpoints.values()
    made.endpoint_status = "Failed"
    found = unserved(*clients, PREFIX, BUCKET, SOON)
    assert found.endpoints == (f"{PREFIX}-burst-real-time-ml-g4dn-xlarge",)
    assert f"{PREFIX}-burst-model-1" in found.models
    sweep(*clients, BUCKET, found)
    assert clients[0].list_endpoints()["Endpoints"] == []
