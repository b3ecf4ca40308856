"""``config.pbtxt`` means what it meant when Spillway wrote it by hand; what cannot be read says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import ParseError
from hypothesis import given
from hypothesis import strategies as st

from model_packaging.language import layout
from model_packaging.language.config import LanguageConfig
from model_packaging.pbtxt import ModelConfig, message, read_pbtxt, to_pbtxt
from model_packaging.sources.model import TextCodec
from model_packaging.tensorrt.triton import engine_config
from model_packaging.tensors.settings import ServingConfig
from model_packaging.tensors.triton_config import (
    EnsembleStep,
    ensemble_config,
    longest_text,
    model_config,
    tokenizer_config,
)
from spillway.contracts.manifest import LanguageServing, PackageError, TensorSpec
from spillway.contracts.trt_engines import Compiler, EngineProfile, EngineRecord, EngineTensor
from tests.model_packaging import tiny_language
from tests.model_packaging.packages import L4

BEFORE = Path(__file__).parent / "pbtxt_before"
"""What the writer of these texts wrote before it built messages, for the same values as below."""


def spec(name: str, dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


TOKENS = (spec("input_ids", "INT64", -1, -1), spec("attention_mask", "INT64", -1, -1))
VECTOR = (spec("EMBEDDING", "FP32", -1, 384),)
RANGES = {one.name: ((1, 1), (8, 128), (32, 256)) for one in TOKENS}
PLAIN = ServingConfig()


def tensorrt_ep() -> ModelConfig:
    serving = ServingConfig(accelerator="tensorrt-ep", intra_op_threads=4, instance_kind="gpu", instances=2)
    return model_config("minilm_encoder", "onnxruntime", TOKENS, VECTOR, serving, ranges=RANGES)


def alone() -> ModelConfig:
    inputs = (spec("x", "FP16", 16, -1, 4), spec("flag", "BOOL", 1))
    outputs = (spec("SCORES", "FP64", -1), spec("MASK", "UINT8", 16, -1))
    warm_up = {"x": (16, 7, 4), "flag": (1,)}
    config = model_config("alone", "onnxruntime", inputs, outputs, PLAIN, batched=False, warm_up=warm_up)
    config.response_cache.enable = True
    return config


def no_warm_up() -> ModelConfig:
    batching = {"max_queue_delay_ms": 0, "max_queue_size": 0, "timeout_s": {"P0": 1, "P1": 2.5, "P2": 3}}
    serving = ServingConfig.model_validate({"warm_up": False, "max_batch_size": 1, "batching": batching})
    return model_config("net", "onnxruntime", TOKENS, VECTOR, serving)


def ensemble() -> ModelConfig:
    same = {one.name: one.name for one in TOKENS}
    steps = (
        EnsembleStep("minilm_tokenizer", {"TEXT": "TEXT"}, same),
        EnsembleStep("minilm_encoder", same, {"EMBEDDING": "EMBEDDING"}),
    )
    config = ensemble_config("minilm", (spec("TEXT", "BYTES", -1, 1),), VECTOR, steps, PLAIN)
    config.output[0].label_filename = "labels.txt"
    return config


def engine(*batches: tuple[int, int, int], compiler: Compiler = Compiler.TENSORRT) -> ModelConfig:
    profiles = tuple(
        EngineProfile(shapes=dict.fromkeys(RANGES, ((least, 1), (tuned, 128), (most, 256))))
        for least, tuned, most in batches
    )
    tensors = (
        *(EngineTensor(name=name, mode="input", dtype="int64", shape=(-1, -1)) for name in RANGES),
        EngineTensor(name="EMBEDDING", mode="output", dtype="float32", shape=(-1, 384)),
    )
    record = EngineRecord(
        key=L4.model_copy(update={"compiler": compiler}),
        precision="fp16",
        sha256="0" * 64,
        size_bytes=1,
        source_sha256="0" * 64,
        tensors=tensors,
        profiles=profiles,
        optimisation_level=3,
        build_seconds=1,
    )
    return engine_config("minilm_encoder", record, PLAIN)


CASES: dict[str, Callable[[], ModelConfig]] = {
    "encoder": lambda: model_config("minilm_encoder", "onnxruntime", TOKENS, VECTOR, PLAIN, ranges=RANGES),
    "tensorrt_ep": tensorrt_ep,
    "alone": alone,
    "no_warm_up": no_warm_up,
    "tokenizer": lambda: tokenizer_config("minilm_tokenizer", TextCodec(Path("tokenizer.json"), 253, 16), PLAIN),
    "ensemble": ensemble,
    "engine_profiles": lambda: engine((1, 1, 1), (2, 8, 8), (9, 32, 32)),
    "engine_graphs": lambda: engine((1, 8, 32)),
    "engine_rtx": lambda: engine((1, 8, 32), compiler=Compiler.TENSORRT_RTX),
}


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_means_what_it_meant_before(case: str, tmp_path: Path) -> None:
    made = CASES[case]()
    assert made == read_pbtxt(BEFORE / f"{case}.pbtxt")
    (tmp_path / "config.pbtxt").write_text(to_pbtxt(made))
    assert read_pbtxt(tmp_path / "config.pbtxt") == made


def test_a_language_model_s_configuration_means_what_it_meant_before(tmp_path: Path) -> None:
    config = LanguageConfig.model_validate(tiny_language.settings(tmp_path))
    serving = LanguageServing(
        max_model_len=128,
        max_num_seqs=64,
        tensor_parallel_size=1,
        dtype="bfloat16",
        quantization="none",
        scheme="bf16",
        tokenizer="Tokenizer",
        vocabulary=300,
        chat_template=True,
    )
    (tmp_path / "vllm").mkdir()
    layout.write_layouts(tmp_path, config, serving)
    assert read_pbtxt(tmp_path / "triton_vllm" / "tiny" / "config.pbtxt") == read_pbtxt(BEFORE / "vllm.pbtxt")


@given(st.text(), st.lists(st.integers(-1, 2**40), max_size=4), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_name_and_shape_comes_back_as_it_was(name: str, dims: list[int], parameters: dict[str, str]) -> None:
    values: dict[str, Any] = {"input": [{"name": name, "data_type": "TYPE_FP32", "dims": dims}]}
    values["parameters"] = {key: {"string_value": value} for key, value in parameters.items()}
    assert text_format.Parse(to_pbtxt(message(values)), ModelConfig()) == message(values)


def test_the_longest_text_is_read_of_a_tokenizer_and_of_nothing_else() -> None:
    assert longest_text(read_pbtxt(BEFORE / "tokenizer.pbtxt")) == 256
    assert [longest_text(CASES[name]()) for name in ("encoder", "ensemble", "tensorrt_ep")] == [None] * 3


def test_a_field_that_triton_does_not_have_is_refused() -> None:
    with pytest.raises(ParseError, match="max_batch"):
        message({"name": "net", "max_batch": 4})


@pytest.mark.parametrize("text", ["name: 'net'\nmax_batch: 4\n", "name: \n", "<html>"])
def test_what_is_no_configuration_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text(text)
    with pytest.raises(PackageError, match=r"config\.pbtxt: cannot be read as a Triton configuration: .*Package the"):
        read_pbtxt(path)
