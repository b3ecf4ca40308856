"""The twin's burst fronts refuse what the clouds refuse, and answer as they do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from aiohttp import web
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel

from spillway.contracts.credentials import SigV4
from spillway.runtime.gateway.sigv4 import Signer
from spillway.twin.data_plane.processes import event_stream
from spillway.twin.data_plane.processes.burst_front import AzureMlFront, BurstFront, SageMakerFront
from tests.support.gateway_rig import ModelServer, free_port
from tests.support.waiting import await_server, eventually

PATH = "/endpoints/ep/invocations"
KEYS = {"AKIAONE": "secret-one"}
LIMIT = 2048


@dataclass
class Running:
    """A model server and both fronts."""

    loop: asyncio.AbstractEventLoop
    model: ModelServer
    sagemaker: int
    azure_ml: int


@pytest.fixture
def running() -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    model = ModelServer()
    sagemaker = SageMakerFront(
        endpoint="ep", region="eu-west-1", host="127.0.0.1", access_keys=KEYS, max_concurrent=1, max_body_bytes=LIMIT
    )
    azure_ml = AzureMlFront(host="127.0.0.1", keys=("one", "two"), max_body_bytes=LIMIT, timeout_s=0.5)
    runners: list[web.AppRunner] = []
    ports = {"sagemaker": free_port(), "azure_ml": free_port()}

    async def start() -> None:
        await model.start()
        for settings, port in ((sagemaker, ports["sagemaker"]), (azure_ml, ports["azure_ml"])):
            runner = web.AppRunner(BurstFront(settings, f"http://127.0.0.1:{model.port}").app(), shutdown_timeout=0)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()

    async def stop() -> None:
        for runner in runners:
            await runner.cleanup()
        await model.stop()

    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield Running(loop, model, **ports)
    model.hang = False
    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)


def runtime(running: Running, key: str = "AKIAONE", secret: str = "secret-one", region: str = "eu-west-1"):
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"http://127.0.0.1:{running.sagemaker}",
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def runtime_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("sagemaker-runtime", "service-2"))


def refused(client, **call) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        client.invoke_endpoint(**{"EndpointName": "ep", "Body": b"{}", **call})
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_real_boto3_is_let_in_and_the_container_answers(running: Running) -> None:
    answer = runtime(running).invoke_endpoint(EndpointName="ep", Body=b'{"a":1}', ContentType="application/json")
    assert answer["Body"].read() == b'{"outputs":[]}'
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert running.model.seen[-1].path == "/invocations"
    assert running.model.seen[-1].body == b'{"a":1}'
    assert "Authorization" not in running.model.seen[-1].headers


def test_real_boto3_reads_an_answer_in_frames(running: Running) -> None:
    answer = runtime(running).invoke_endpoint_with_response_stream(
        EndpointName="ep", Body=b'{"a":1}', ContentType="application/json", CustomAttributes="route=/v1/completions"
    )
    assert b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"]) == b'{"outputs":[]}'
    assert answer["ContentType"].startswith("application/json")
    seen = running.model.seen[-1]
    assert (seen.path, seen.body) == ("/invocations", b'{"a":1}')
    assert seen.headers["X-Amzn-SageMaker-Custom-Attributes"] == "route=/v1/completions"


def test_botocore_raises_the_frame_of_a_broken_answer() -> None:
    """With the shapes of its own model of the call."""
    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.part(b"one") + event_stream.broken())
    part, broken = list(buffer)
    assert (part.headers[":event-type"], part.payload) == ("PayloadPart", b"one")
    answer = broken.to_response_dict()
    model: Any = runtime_model().operation_model("InvokeEndpointWithResponseStream")
    shape = model.output_shape.members["Body"].members[answer["headers"][":exception-type"]]
    assert answer["status_code"] == 400
    assert set(json.loads(answer["body"])) == set(shape.members)


def test_wrong_credentials_and_names_are_refused(running: Running) -> None:
    assert refused(runtime(running, secret="guess")) == (403, "InvalidSignatureException")
    assert refused(runtime(running, key="AKIATWO")) == (403, "UnrecognizedClientException")
    assert refused(runtime(running, region="us-east-1")) == (403, "InvalidSignatureException")
    assert refused(runtime(running), EndpointName="other")[0] == 400
    assert refused(runtime(running), Body=b"x" * (LIMIT + 1))[0] == 413
    assert running.model.seen == []


@pytest.mark.parametrize(("status", "side"), [(400, "client"), (500, "server")])
def test_container_errors_are_model_errors(running: Running, status: int, side: str) -> None:
    running.model.status, running.model.body = status, b'{"error":"no"}'
    with pytest.raises(ClientError) as caught:
        runtime(running).invoke_endpoint(EndpointName="ep", Body=b"{}")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == '{"error":"no"}'
    assert side in response["Error"]["Message"]


def test_dead_container_is_a_model_error(running: Running) -> None:
    asyncio.run_coroutine_threadsafe(running.model.stop(), running.loop).result(5)
    assert refused(runtime(running)) == (424, "ModelError")


def test_too_many_at_once_are_throttled(running: Running) -> None:
    running.model.delay_s = 0.5
    first = threading.Thread(target=runtime(running).invoke_endpoint, kwargs={"EndpointName": "ep", "Body": b"{}"})
    first.start()
    eventually(lambda: running.model.running == 1)
    assert refused(runtime(running)) == (429, "ThrottlingException")
    first.join()


def signed(tmp_path: Path, running: Running, host: str = "127.0.0.1", body: bytes = b"{}") -> dict[str, str]:
    file = tmp_path / "aws"
    file.write_text("[default]\naws_access_key_id=AKIAONE\naws_secret_access_key=secret-one\n")
    signer = Signer(SigV4(region="eu-west-1", credentials_file=str(file)))
    return signer.sign("POST", f"http://{host}:{running.sagemaker}{PATH}", {}, body)


def post(port: int, path: str, headers: dict[str, str], body: bytes = b"{}") -> urllib3.BaseHTTPResponse:
    return urllib3.PoolManager().request("POST", f"http://127.0.0.1:{port}{path}", headers=headers, body=body)


def test_the_agents_own_signature_is_let_in(running: Running, tmp_path: Path) -> None:
    assert post(running.sagemaker, PATH, signed(tmp_path, running)).status == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"X-Amz-Date": "20200101T000000Z"}, 403),
        ({"X-Amz-Date": "yesterday"}, 403),
        ({"Authorization": "Bearer x"}, 403),
        ({"X-Amz-Content-SHA256": "0" * 64}, 403),
        ({"Host": "elsewhere"}, 404),
    ],
)
def test_anything_changed_breaks_the_signature(
    running: Running, tmp_path: Path, change: dict[str, str], status: int
) -> None:
    assert post(running.sagemaker, PATH, {**signed(tmp_path, running), **change}).status == status
    assert running.model.seen == []


def test_changed_body_or_path_breaks_the_signature(running: Running, tmp_path: Path) -> None:
    headers = signed(tmp_path, running)
    assert post(running.sagemaker, PATH, headers, b'{"a":2}').status == 403
    assert post(running.sagemaker, PATH + "x", headers).status == 403


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Authorization": "Bearer one"}, "/v2/models/m/infer", 200),
        ({"Authorization": "Bearer two"}, "/v2/models/m/infer", 200),
        ({}, "/v2/models/m/infer", 401),
        ({"Authorization": "Bearer three"}, "/v2/models/m/infer", 403),
        ({"Authorization": "Bearer one", "Host": "elsewhere"}, "/v2/models/m/infer", 404),
        ({"Authorization": "Bearer one"}, "/score", 404),
    ],
)
def test_azure_checks_key_host_and_path(running: Running, headers: dict[str, str], path: str, status: int) -> None:
    assert post(running.azure_ml, path, headers).status == status
    assert len(running.model.seen) == (status == 200)


def test_azure_answers_424_408_429_and_413(running: Running) -> None:
    key = {"Authorization": "Bearer one"}
    running.model.status = 400
    answer = post(running.azure_ml, "/v2/models/m/infer", key)
    assert (answer.status, answer.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    assert post(running.azure_ml, "/v2/models/m/infer", key, b"x" * (LIMIT + 1)).status == 413
    running.model.hang = True
    waiting = [
        threading.Thread(target=post, args=(running.azure_ml, "/v2/models/m/infer", key), daemon=True) for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    eventually(lambda: running.model.running == 2)
    assert post(running.azure_ml, "/v2/models/m/infer", key).status == 429
    for thread in waiting:
        thread.join()
    assert post(running.azure_ml, "/v2/models/m/infer", key).status == 408


def test_answers_stream_through(running: Running) -> None:
    url = f"http://127.0.0.1:{running.azure_ml}/v2/models/m/generate_stream"
    started = time.monotonic()
    # Four parts, a quarter of a second apart: longer than this front's request timeout, so only the first ones come.
    answer = urllib3.PoolManager().request(
        "POST", url, body=b"{}", headers={"Authorization": "Bearer one"}, preload_content=False
    )
    assert answer.read1(64) == b"data: 0\n\n"
    assert time.monotonic() - started < 0.7, "it came with the last"


def test_runs_as_a_process(tmp_path: Path) -> None:
    config = tmp_path / "front.json"
    config.write_text(json.dumps({"host": "h", "keys": ["k"]}))
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "spillway.twin.data_plane.processes.burst_front",
        "--kind",
        "azure_ml",
        "--port",
        str(port),
    ]
    process = subprocess.Popen([*command, "--upstream", "http://127.0.0.1:1", "--config", str(config)])
    try:
        await_server(process, f"http://127.0.0.1:{port}/_spillway/health")
        health = urllib3.request("GET", f"http://127.0.0.1:{port}/_spillway/health", retries=False)
        assert json.loads(health.data)["boot_id"]
    finally:
        process.terminate()
        assert process.wait(10) == 0
