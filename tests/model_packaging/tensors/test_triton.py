"""The produced repository in the real Triton server: correct embeddings, through all of its front ends."""

from __future__ import annotations

import json
import tarfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model_packaging.build import package
from model_packaging.tensors.source import load
from spillway.contracts.manifest import AZURE_ML_REPOSITORY, SAGEMAKER_ARCHIVE, TRITON_REPOSITORY, verify_package
from spillway.contracts.targets import Layout
from spillway.twin.data_plane.processes.backends.fixed_time import fixed_time_repository
from tests.model_packaging.test_build import TWO, config
from tests.support.paths import MINILM
from tests.support.triton import TOOLS, serving

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (TOOLS / "triton").is_dir() or not (TOOLS / "triton-numpy").is_dir(),
        reason="Triton is not unpacked under .tools (the set-up does it)",
    ),
]

SENTENCES = ("A cat is sleeping.", "Where is my order?", "東京は日本の首都です。", "word " * 400)


def post(url: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def embed(url: str, texts: tuple[str, ...], **parameters: object) -> np.ndarray:
    tensor = {"name": "TEXT", "shape": [len(texts), 1], "datatype": "BYTES", "data": list(texts)}
    answer = post(url, {"inputs": [tensor], "parameters": parameters})
    output = answer["outputs"][0]  # pyright: ignore[reportIndexIssue]
    assert output["name"] == "EMBEDDING"
    return np.array(output["data"]).reshape(output["shape"])


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """Torch's own answer, each sentence alone and unpadded."""
    import torch

    from model_packaging.config import load_config

    model = load(load_config(MINILM))
    assert model.text is not None
    with torch.no_grad():
        return torch.cat([model.module(**model.text.encode([text])) for text in SENTENCES]).numpy()


def cosines(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.sum(got * want, axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)


def test_private_repository_answers_as_torch(minilm_package: Path, expected: np.ndarray, tmp_path: Path) -> None:
    with serving(minilm_package / TRITON_REPOSITORY, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}/v2/models/minilm/infer"
        assert (cosines(embed(url, SENTENCES), expected) > 0.999).all()
        one_by_one = np.concatenate([embed(url, (text,)) for text in SENTENCES])
        assert (cosines(one_by_one, expected) > 0.999).all()

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda index: embed(url, SENTENCES[:1], priority=1 + index % 3), range(24)))
        assert all((cosines(answer, expected[:1]) > 0.999).all() for answer in answers)
        statistics = json.load(
            urllib.request.urlopen(f"http://127.0.0.1:{ports.http}/v2/models/minilm_encoder/stats", timeout=5)
        )["model_stats"][0]
        assert statistics["execution_count"] < statistics["inference_count"], "requests at once share batches"
    # Serving adds no file: the package still verifies.
    verify_package(minilm_package)


def test_bad_text_is_refused_and_the_server_lives(minilm_package: Path, tmp_path: Path) -> None:
    with serving(minilm_package / AZURE_ML_REPOSITORY, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}/v2/models/minilm/infer"
        with pytest.raises(urllib.error.HTTPError) as refusal:
            post(url, {"inputs": [{"name": "TEXT", "shape": [1], "datatype": "BYTES", "data": ["x"]}]})
        assert refusal.value.code == 400
        with pytest.raises(urllib.error.HTTPError):
            embed(url, tuple(["too many"] * 33))
        assert embed(url, ("still there",)).shape == (1, 384)


def test_sagemaker_front_end_serves_the_archive(minilm_package: Path, expected: np.ndarray, tmp_path: Path) -> None:
    with tarfile.open(minilm_package / SAGEMAKER_ARCHIVE) as archive:
        archive.extractall(tmp_path / "model", filter="data")
    with serving(tmp_path / "model", tmp_path / "log", sagemaker_model="minilm") as ports:
        url = f"http://127.0.0.1:{ports.sagemaker}"
        assert urllib.request.urlopen(f"{url}/ping", timeout=5).status == 200
        assert (cosines(embed(f"{url}/invocations", SENTENCES), expected) > 0.999).all()


def test_two_sites_answer_each_with_its_own_variant(tmp_path: Path) -> None:
    settings = config(tmp_path, "own_model_t", variants=TWO, serve={"sagemaker": "int8-dynamic", "default": "fp32"})
    built = package(settings, tmp_path / "store")
    manifest, model = built.manifest, load(settings)
    bounds = {figure.variant: figure.bound_min_cosine for figure in manifest.parity}
    answers = {}
    for site in (Layout.TRITON, Layout.SAGEMAKER):
        with tarfile.open(built.path / manifest.delivery(site).path) as archive:
            archive.extractall(tmp_path / site, filter="data")
        entry = manifest.entry_model if site == Layout.SAGEMAKER else None
        with serving(tmp_path / site, tmp_path / f"{site}.log", sagemaker_model=entry) as ports:
            url = f"http://127.0.0.1:{ports.http}/v2/models/{manifest.entry_model}/infer"
            url = f"http://127.0.0.1:{ports.sagemaker}/invocations" if entry else url
            answers[site] = np.concatenate([scores(url, sample["x"].numpy()) for sample in model.samples])
    want = np.concatenate([model.answer(sample)["SCORES"].numpy() for sample in model.samples])
    for site, got in answers.items():
        assert (cosines(got, want) >= bounds[manifest.served[manifest.layout(site)]]).all()
    assert np.abs(answers[Layout.TRITON] - want).max() < 1e-5
    assert np.abs(answers[Layout.SAGEMAKER] - want).max() > 1e-4, "int8 differs from fp32 by more than rounding"


def scores(url: str, x: np.ndarray) -> np.ndarray:
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    output = post(url, {"inputs": [tensor]})["outputs"][0]  # pyright: ignore[reportIndexIssue]
    return np.array(output["data"]).reshape(output["shape"])


def test_fixed_time_model_serves_as_many_at_once_as_it_has_instances(tmp_path: Path) -> None:
    repository = fixed_time_repository(tmp_path / "repository", service_time_s=0.4, instances=2)
    body = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["echo"]}]}
    with serving(repository, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}/v2/models/slow/infer"

        def timed(_: int) -> float:
            start = time.monotonic()
            assert post(url, dict(body))["outputs"][0]["data"] == ["echo"]  # pyright: ignore[reportIndexIssue]
            return time.monotonic() - start

        timed(0)
        with ThreadPoolExecutor(3) as pool:
            times = sorted(pool.map(timed, range(3)))
    assert times[1] < 0.7
    assert times[2] >= 0.75
