"""``invoke_endpoint`` at the emulated AWS goes through the real front, and is refused as SageMaker refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from spillway.twin.aws.services.sagemaker_runtime import FILE, Front
from tests.twin.aws.support import Server, start
from tests.twin.data_plane import test_burst_front
from tests.twin.data_plane.test_burst_front import KEYS, LIMIT, Running

pytestmark = pytest.mark.heavy

running = test_burst_front.running
"""A model server behind SageMaker's front, which knows one endpoint and one key."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aws")


@pytest.fixture(scope="module")
def aws(folder: Path) -> Iterator[Server]:
    server = start(folder)
    sagemaker = server.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/model"
    for name in ("ep", "later"):
        sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "i"}, ExecutionRoleArn=role)
        variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    yield server
    server.stop()


@pytest.fixture
def client(aws: Server, folder: Path, running: Running) -> Any:
    ((access_key, secret_key),) = KEYS.items()
    place = {"endpoint": "ep", "region": "eu-west-1", "host": "127.0.0.1", "port": running.sagemaker}
    front = Front.model_validate({**place, "access_key": access_key, "secret_key": secret_key})
    (folder / FILE).write_text(front.model_dump_json())
    return aws.client("sagemaker-runtime")


def refusal(client: Any, **call: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        client.invoke_endpoint(**{"EndpointName": "ep", "Body": b"{}", **call})
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_the_model_server_answers(client: Any, running: Running) -> None:
    answer = client.invoke_endpoint(EndpointName="ep", Body=b'{"inputs":[]}', ContentType="application/json")
    assert answer["Body"].read() == b'{"outputs":[]}'
    assert answer["ContentType"].startswith("application/json")
    (seen,) = running.model.seen
    assert seen.body == b'{"inputs":[]}'


def test_what_the_front_and_the_model_refuse_arrives(client: Any, running: Running) -> None:
    assert refusal(client, Body=b"x" * (LIMIT + 1))[:2] == (413, "ValidationException")
    running.model.status = 400
    assert refusal(client)[:2] == (424, "ModelError")


def test_an_endpoint_that_nobody_made_is_not_found(client: Any, aws: Server) -> None:
    """SageMaker: ``ValidationError``, with these words."""
    status, code, message = refusal(client, EndpointName="nosuch")
    assert (status, code) == (400, "ValidationError")
    assert message.startswith("Endpoint nosuch of account ")
    assert refusal(aws.client("sagemaker-runtime", "us-east-1"))[1] == "ValidationError"


def test_an_endpoint_without_a_server_says_how_to_get_one(client: Any) -> None:
    status, code, message = refusal(client, EndpointName="later")
    assert (status, code) == (503, "ServiceUnavailable")
    assert "spillway up" in message
