from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.conformance.flows.families.sagemaker import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import allow, asked, deployment, inline, kubernetes, made, role, trusting, world


def gateway(kind: str, auth: str) -> list[Resource]:
    paths = [{"client": "/v1/chat/completions", "upstream": "/endpoints/burst/openai/v1/chat/completions"}]
    host = "runtime.sagemaker.us-east-1.amazonaws.com"
    site = {
        "site": "sagemaker",
        "host": host,
        "port": 443,
        "auth": {"kind": auth, "service": "sagemaker"},
        "paths": paths,
    }
    table = kubernetes("core/v1:ConfigMap", "config", data={"routing.json": json.dumps({"sites": [site]})})
    pod = deployment("gateway", volumes=[{"name": "config", "configMap": {"name": "config"}}])
    server = deployment("server")
    template: dict[str, Any] = server.props["spec"]["template"]
    template["metadata"]["annotations"] = {"spillway.dev/kind": kind}
    return [table, pod, server]


@pytest.mark.parametrize(
    ("kind", "auth", "closed"),
    [("vllm", "sigv4", True), ("vllm", "aws_token", False), ("triton", "sigv4", False)],
)
def test_the_chat_path_takes_bearer_tokens(kind: str, auth: str, closed: bool) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html"""
    flows = [flow for flow in FAMILY.flows(world(*gateway(kind, auth))) if flow.source == "chat of gateway"]
    assert bool([one for flow in flows for one in asked(flow.doors)]) is closed


def source(kind: str, uri: str) -> dict[str, Any]:
    return {"s3DataSources": [{"s3DataType": kind, "s3Uri": uri, "compressionType": "None"}]}


@pytest.mark.parametrize(
    ("container", "read"),
    [
        ({"modelDataUrl": "s3://models/echo.tar.gz"}, "models/echo.tar.gz"),
        ({"modelDataSource": source("S3Prefix", "s3://models/echo/")}, "models/echo/any"),
        ({"modelDataSource": source("S3Object", "s3://models/echo.tar.gz")}, "models/echo.tar.gz"),
    ],
)
def test_the_package_is_read_from_where_the_model_says(container: dict[str, Any], read: str) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3ModelDataSource.html"""
    runs = role("runs", trusting("sagemaker"))
    props = {"executionRoleArn": runs.outputs["arn"], "primaryContainer": container}
    model = made("aws:sagemaker/model:Model", "model", props)
    nothing = inline(runs, allow("sns:Publish"))
    [flow] = [flow for flow in FAMILY.flows(world(runs, nothing, model)) if flow.target == "package"]
    told = " ".join(one.message for one in asked(flow.doors))
    assert f"arn:aws:s3:::{read}" in told
