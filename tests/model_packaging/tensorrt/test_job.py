"""The job that compiles engines: sound by the published schemas, taken by real parts, and its process really runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.session import Session
from botocore.validate import validate_parameters
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from model_packaging.tensorrt.compile import SOURCE, read_settings
from model_packaging.tensorrt.samples import save_samples
from spillway.cli.main import cli
from spillway.contracts.manifest import PackageError
from spillway.contracts.trt_engines import verify_engines
from spillway.twin.kubernetes.podsecurity import violations
from spillway.twin.kubernetes.standin import KubernetesStandIn
from tests.model_packaging.packages import add_portable_model, make_version, reseal
from tests.model_packaging.stores import new_bucket, s3_server
from tests.support.paths import ROOT
from tests.support.twin_server import Driver, serve

URL = "s3://my-models/packages/MiniLM_v2/1f0c9a"
ROLE = "arn:aws:iam::123456789012:role/compile"
SERVING = ("--namespace", "spillway-test-serving")
ON_KUBERNETES = ("--on", "kubernetes", "--image", "registry.example/compile:24.10", *SERVING)
ON_SAGEMAKER = (
    *("--on", "sagemaker", "--image", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/compile:24.10"),
    *("--instance-type", "ml.g5.xlarge", "--role-arn", ROLE),
)
SETTINGS = """
batches: [[1, 4, 8]]
axes: {height: [1, 2, 3]}
workspace_gib: 0.5
high_precision: ["node: 1", 'it''s "2"']
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["package", "compile-job", *arguments])


def kubernetes_job(*arguments: str, url: str = URL) -> dict[str, Any]:
    done = run(url, *ON_KUBERNETES, *arguments)
    assert done.exit_code == 0, done.stderr
    return yaml.safe_load(done.stdout)


def sagemaker_request(*arguments: str, url: str = URL) -> dict[str, Any]:
    done = run(url, *ON_SAGEMAKER, *arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]


FULL = (
    *("--role-arn", ROLE, "--region", "eu-central-1", "--node-selector", "node.kubernetes.io/instance-type=g6.xlarge"),
    *("--service-account", "compiler", "--memory", "24Gi", "--max-minutes", "30", "--disk-gib", "100"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with serve("kubernetes", tmp_path_factory.mktemp("kubernetes")) as url:
        driver = Driver(KubernetesStandIn(url))
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"metadata": {"name": "spillway-test-serving", "labels": labels}}
        driver.create("kubernetes:core/v1:Namespace", "serving", namespace)
        account = {"metadata": {"name": "compiler", "namespace": "spillway-test-serving"}}
        driver.create("kubernetes:core/v1:ServiceAccount", "compiler", account)
        yield driver


@pytest.mark.parametrize("options", [(), FULL], ids=["plain", "full"])
def test_the_kubernetes_job_is_sound_and_a_cluster_takes_it(options: tuple[str, ...], cluster: Driver) -> None:
    job = kubernetes_job(*options)
    kubernetes_validate.validate(job, "1.34", strict=True)
    assert violations(pod_of(job), "restricted") == []
    made = cluster.create("kubernetes:batch/v1:Job", job["metadata"]["name"], job)
    assert made.outputs["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["--package", URL]


def test_the_pod_asks_for_the_gpu_and_can_write_where_it_must() -> None:
    job = kubernetes_job(*FULL)
    pod = pod_of(job)
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "24Gi", "nvidia.com/gpu": "1"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"] == {"node.kubernetes.io/instance-type": "g6.xlarge"}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("compiler", False)
    assert (job["metadata"]["namespace"], job["spec"]["activeDeadlineSeconds"]) == ("spillway-test-serving", 1800)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert volumes[mounts["/tmp"]["name"]] == {"name": "tmp", "emptyDir": {"sizeLimit": "100Gi"}}
    environment = {one["name"]: one["value"] for one in container["env"]}
    token = Path(environment["AWS_WEB_IDENTITY_TOKEN_FILE"])
    projected = volumes[mounts[str(token.parent)]["name"]]["projected"]["sources"][0]["serviceAccountToken"]
    assert (projected["path"], environment["AWS_ROLE_ARN"]) == (token.name, ROLE)


def test_the_network_policy_lets_the_pod_reach_the_store() -> None:
    from components.private_cluster.settings import EksSettings
    from tests.components.private_cluster.test_platform import build, of_type

    found = of_type(build(EksSettings()), "kubernetes:networking.k8s.io/v1:NetworkPolicy")
    job = kubernetes_job()
    labels = job["spec"]["template"]["metadata"]["labels"].items()
    egress = [
        resource.inputs["spec"]["egress"]
        for resource in found
        if resource.inputs["metadata"]["namespace"] == job["metadata"]["namespace"]
        and (chosen := resource.inputs["spec"]["podSelector"].get("matchLabels"))
        and chosen.items() <= labels
    ]
    assert egress == [[{"ports": [{"port": 443, "protocol": "TCP"}]}]]


def problems(shape: Shape, value: Any, at: str = "request") -> Iterator[str]:
    """What SageMaker's own model forbids and botocore leaves to the service: lengths, patterns, names of a list."""
    known = shape.metadata
    if isinstance(shape, StructureShape):
        for key, part in value.items():
            yield from problems(shape.members[key], part, f"{at}.{key}")
    elif isinstance(shape, ListShape):
        for part in value:
            yield from problems(shape.member, part, at)
    elif isinstance(shape, MapShape):
        for part in value.values():
            yield from problems(shape.value, part, at)
    elif known.get("enum") and value not in known["enum"]:
        yield f"{at}: {value} is none of {known['enum']}"
    elif isinstance(value, str) and not re.fullmatch(known.get("pattern", ".*"), value):
        yield f"{at}: {value} is not {known['pattern']}"
    size = value if isinstance(value, int) else len(value)
    if not known.get("min", 0) <= size <= known.get("max", size):
        yield f"{at}: {size} is not within {known}"


@pytest.mark.parametrize("options", [(), ("--region", "eu-central-1", "--disk-gib", "100")], ids=["plain", "full"])
def test_the_sagemaker_request_is_sound_and_a_server_takes_it(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = sagemaker_request(*options, "--precision", "int8")
    operation = Session().get_service_model("sagemaker").operation_model("CreateProcessingJob")
    assert operation.input_shape is not None
    validate_parameters(request, operation.input_shape)
    assert list(problems(operation.input_shape, request)) == []
    assert len(list(problems(operation.input_shape, {**request, "ProcessingJobName": "-", "RoleArn": "me"}))) == 3
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        import boto3

        client = boto3.client("sagemaker")
        client.create_processing_job(**request)
        there = client.describe_processing_job(ProcessingJobName=request["ProcessingJobName"])
    kept = {"ProcessingJobName", "RoleArn", "AppSpecification", "StoppingCondition"}
    assert {key: there[key] for key in kept} == {key: request[key] for key in kept}


def test_no_name_recurs_and_each_says_which_package() -> None:
    names = {sagemaker_request()["ProcessingJobName"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("compile-minilm-v2-1f0c9a-") for name in names)
    long = kubernetes_job(url=f"s3://models/{'x' * 70}/-{'_' * 30}-/{'9' * 64}")["metadata"]["name"]
    assert len(long) <= 63
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", long)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((".spillway/packages/minilm/current", *ON_KUBERNETES), "cannot see this machine's folders"),
        (("file:///packages/minilm", *ON_KUBERNETES), "cannot see this machine's folders"),
        (("s3://key:hunter2@bucket/minilm", *ON_KUBERNETES), "holds no secret"),
        (("github://token@owner/minilm", *ON_KUBERNETES), "holds no secret"),
        (("https://models.blob.core.windows.net/minilm?sig=hunter2", *ON_KUBERNETES), "holds no secret"),
        (("s3:/models/minilm", *ON_KUBERNETES), "cannot see this machine's folders"),
        (("s3://[models/minilm", *ON_KUBERNETES), "is no URL"),
        ((URL, *ON_KUBERNETES, "--instance-type", "ml.g5.xlarge"), "--instance-type is for --on sagemaker"),
        ((URL, *ON_SAGEMAKER, "--node-selector", "a=b"), "--node-selector is for --on kubernetes"),
        ((URL, *ON_KUBERNETES, "--node-selector", "g6.xlarge"), "give LABEL=VALUE"),
        ((URL, *ON_KUBERNETES, "--memory", "much"), "as 12Gi"),
        ((URL, *ON_KUBERNETES, "--namespace", "Not A Name"), "name of a namespace"),
        ((URL, *ON_KUBERNETES, "--role-arn", ROLE), "give --region"),
        ((URL, *ON_KUBERNETES, "--role-arn", "compile", "--region", "eu-central-1"), "give a role's ARN"),
        ((URL, "--on", "kubernetes", "--image", "two words"), "reference of an image"),
        ((URL, *ON_SAGEMAKER[:-2]), "give a role's ARN"),
        ((URL, *ON_SAGEMAKER, "--image", "registry.example/compile:1"), "an image in ECR"),
        ((URL, *ON_SAGEMAKER, "--instance-type", "ml.m5.xlarge"), "with a GPU"),
        (("abfs://models@account/minilm", *ON_SAGEMAKER), "opens S3;"),
        ((f"s3://models/{'x' * 300}", *ON_SAGEMAKER), "256 characters, this has 312"),
        ((URL, *ON_KUBERNETES, "--out", "/no/such/folder/job.yaml"), "cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_and_says_why(arguments: tuple[str, ...], told: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert "hunter2" not in done.stderr
    assert done.stdout == ""


def test_settings_at_fault_are_refused_before_there_is_a_job(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text("speed: high\n")
    done = run(URL, *ON_KUBERNETES, "--settings", str(tmp_path / "engine.yaml"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "speed" in done.stderr


def test_a_job_in_a_file_comes_with_what_starts_it(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    done = run(URL, *ON_SAGEMAKER, "--out", str(path))
    assert f"aws sagemaker create-processing-job --cli-input-json file://{path}" in done.stdout
    told = json.loads(run(URL, *ON_SAGEMAKER, "--out", str(path), "--json").stdout)
    assert json.loads(path.read_text()) == told["job"]
    assert told["name"] == told["job"]["ProcessingJobName"]


def test_settings_reach_the_entry_as_they_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text(SETTINGS)
    arguments = pod_of(kubernetes_job("--settings", str(path), "--precision", "fp8"))["containers"][0]["args"]
    assert (
        arguments
        == sagemaker_request("--settings", str(path), "--precision", "fp8")["AppSpecification"]["ContainerArguments"]
    )
    pairs = [value for flag, value in pairwise(arguments) if flag == "--set"]
    assert read_settings(None, ["fp8"], pairs) == read_settings(path, ["fp8"])
    assert len(pairs) == 4


@pytest.mark.parametrize("pair", ["workspace_gib", "batches=[[1", "speed=1"])
def test_a_pair_at_fault_is_named(pair: str) -> None:
    with pytest.raises(PackageError, match=pair.partition("=")[0]):
        read_settings(None, (), [pair])


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a package of one product in moto's S3, and the environment that leads there."""
    weights = numpy_helper.from_array(np.eye(16, dtype=np.float32), "w")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    model = helper.make_model(
        helper.make_graph([node], "net", [given], [answer], [weights]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    package = make_version(tmp_path / "package", "job")
    (package / SOURCE).parent.mkdir(parents=True)
    (package / SOURCE).write_bytes(model.SerializeToString())
    save_samples([{"x": np.ones((2, 16), np.float32)}], package / "variants" / "samples.npz")
    reseal(add_portable_model(package, package / SOURCE))
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        import s3fs

        url = f"{new_bucket()}/net/1"
        s3fs.S3FileSystem(skip_instance_cache=True).put(str(package), url, recursive=True)
        yield url


def start(job: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
    """The very process of the job's container, here."""
    (container,) = pod_of(job)["containers"]
    assert container["command"][0] == "python"
    command = [sys.executable, *container["command"][1:], *container["args"], *more]
    environment = {one["name"]: one["value"] for one in container["env"]}
    return subprocess.run(
        command,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.heavy
@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_the_process_starts_and_says_that_tensorrt_is_missing_here(stored: str) -> None:
    done = start(kubernetes_job("--precision", "fp16", url=stored))
    assert done.returncode == 1
    assert "fetching variants/fp32/model.onnx" in done.stderr
    assert "fetching triton/net/config.pbtxt" in done.stderr
    assert "fetching triton/net/1/model.onnx" not in done.stderr, "the engine takes its place"
    assert "tensorrt cannot be loaded" in done.stderr


@pytest.mark.heavy
@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None or sys.platform != "linux",
    reason="TensorRT-RTX is not installed: pip install 'spillway[tensorrt-rtx]'",
)
def test_the_process_puts_engines_back_beside_the_package(stored: str, tmp_path: Path) -> None:
    settings = tmp_path / "engine.yaml"
    settings.write_text("batches: [[1, 4, 32]]\naxes: {}\n")
    job = kubernetes_job("--precision", "fp16", "--settings", str(settings), url=stored)
    done = start(job, "--compiler", "tensorrt-rtx", "--compute-capability", "8.9")
    assert done.returncode == 0, done.stderr
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True)
    files.get(f"{stored}/engines", str(tmp_path / "back" / "engines"), recursive=True)
    (found,) = verify_engines(tmp_path / "back")
    assert found.precision == "fp16"
    assert found.repository_sha256, "what Triton serves it from came along, and was checked"
    assert found.profiles[0].shapes == {"x": ((1, 16), (4, 16), (32, 16))}
