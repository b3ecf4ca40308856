"""The compiler: typed ONNX run in ONNX Runtime, profiles, hardware keys, the engine store, and what is refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import runpy
import shutil
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem
from onnx import TensorProto, helper, numpy_helper

from model_packaging.pbtxt import to_pbtxt
from model_packaging.tensorrt import builder, libraries
from model_packaging.tensorrt.check import parity
from model_packaging.tensorrt.compile import SOURCE, build_engine, compile_package, main, onnx_answers, read_settings
from model_packaging.tensorrt.precision import samples_sha256, to_fp16, typed_model
from model_packaging.tensorrt.samples import load_samples, save_samples
from model_packaging.tensorrt.settings import EngineSettings
from model_packaging.tensors.cosine import row_cosines
from model_packaging.tensors.settings import ServingConfig
from model_packaging.tensors.triton_config import model_config
from spillway.cli.main import cli
from spillway.contracts.manifest import PackageError, TensorSpec, verify_package
from spillway.contracts.trt_engines import (
    PLAN_NAME,
    RECORD_NAME,
    REPOSITORY_NAME,
    Compiler,
    EngineRecord,
    HardwareKey,
    engine_folders,
    find_engine,
    store_engine,
    verify_engine,
    verify_engines,
)
from tests.model_packaging.packages import add_portable_model, make_version, reseal

H100 = HardwareKey(
    compiler=Compiler.TENSORRT,
    version="10.6.0.26",
    compute_capability="9.0",
    gpu_name="NVIDIA H100 80GB HBM3",
    os="linux-x86_64",
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, a product and a Gemm, with a dynamic batch; the last layer is 20 wide, no multiple of 16."""
    random = np.random.default_rng(3)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32), name)

    constants = [weights("conv_w", 32, 16, 3, 3), weights("matmul_w", 32, 48), weights("gemm_w", 20, 48)]
    constants.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    nodes = [
        helper.make_node("Conv", ["pixels", "conv_w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "matmul_w"], ["p"], "matmul"),
        helper.make_node("Gemm", ["p", "gemm_w"], ["logits"], "gemm", transB=1),
    ]
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 16, 8, 8])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 20])
    graph = helper.make_graph(nodes, "net", [given], [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path = tmp_path_factory.mktemp("net") / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def feeds(count: int = 6) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(5)
    return [{"pixels": random.standard_normal((2, 16, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize(
    ("precision", "bound", "pairs"), [("fp32", 1, 0), ("fp16", 0.99999, 0), ("int8", 0.998, 3), ("fp8", 0.99, 2)]
)
def test_a_typed_model_answers_like_the_fp32_one(network: Path, precision: str, bound: float, pairs: int) -> None:
    settings = EngineSettings.model_validate({"precision": precision})
    model = typed_model(network, settings.precision, feeds())
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for feed, want in zip(feeds(), onnx_answers(network, feeds()), strict=True):
        got = np.asarray(session.run(None, feed)[0])
        assert got.dtype == np.float32
        assert row_cosines(got, want["logits"]).min() >= bound - 1e-9
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == pairs
    assert kinds.count("DequantizeLinear") == 2 * pairs


def test_weights_are_stored_quantized_per_channel_in_int8_and_per_tensor_in_fp8(network: Path) -> None:
    for precision, kind, scales in (
        ("int8", TensorProto.INT8, {"conv_w": (32,), "matmul_w": (48,), "gemm_w": (20,)}),
        ("fp8", TensorProto.FLOAT8E4M3FN, {"conv_w": (), "matmul_w": ()}),
    ):
        model = typed_model(network, precision, feeds())  # pyright: ignore[reportArgumentType]
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for name, shape in scales.items():
            assert name not in stored
            assert stored[f"{name}_q"].data_type == kind
            assert tuple(stored[f"{name}_scale"].dims) == shape
            assert stored[f"{name}_scale"].data_type == TensorProto.FLOAT16


def test_a_shortcut_around_convolutions_reads_the_rounded_value_in_int8_only(tmp_path: Path) -> None:
    """Else the sum stays in fp16, and the convolution before it cannot end in int8."""
    random = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array((random.standard_normal((16, 16, 3, 3)) / 12).astype(np.float32), name)
        for name in ("first", "second")
    ]
    nodes = [
        helper.make_node("Conv", ["pixels", "first"], ["a"], "one", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], "two", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "pixels"], ["sum"], "shortcut"),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 16, 8, 8])
    answer = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 16, 8, 8])
    model = helper.make_model(
        helper.make_graph(nodes, "net", [pixels], [answer], weights),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for precision, rounded in (("fp16", False), ("int8", True)):
        typed = typed_model(path, precision, feeds())  # type: ignore[arg-type]
        onnx.checker.check_model(typed)
        (add,) = (node for node in typed.graph.node if node.op_type == "Add")
        assert any(name.endswith("_dq") for name in add.input) == rounded
        session = ort.InferenceSession(typed.SerializeToString(), providers=["CPUExecutionProvider"])
        for feed, want in zip(feeds(), onnx_answers(path, feeds()), strict=True):
            assert row_cosines(np.asarray(session.run(None, feed)[0]), want["sum"]).min() > 0.995


def test_layers_kept_in_fp16_are_left_alone(network: Path) -> None:
    model = typed_model(network, "int8", feeds(), ["conv", "gemm"])
    assert [node.op_type for node in model.graph.node].count("QuantizeLinear") == 1


def test_a_model_with_nothing_to_quantize_is_refused(network: Path) -> None:
    with pytest.raises(PackageError, match="use fp16"):
        typed_model(network, "int8", feeds(), ["conv", "gemm", "matmul"])


def test_scales_are_never_made_up(network: Path) -> None:
    with pytest.raises(PackageError, match="never made up"):
        typed_model(network, "int8")


def test_samples_that_are_no_numbers_give_no_scale(network: Path) -> None:
    with pytest.raises(PackageError, match="not finite"):
        typed_model(network, "fp8", [{"pixels": np.full((1, 16, 8, 8), np.nan, np.float32)}])


def test_fp16_keeps_the_types_of_inputs_and_outputs_and_the_order_of_nodes(network: Path) -> None:
    half = to_fp16(onnx.load(str(network)))
    onnx.checker.check_model(half)
    kinds = {value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)}
    assert kinds == {TensorProto.FLOAT}


def test_samples_go_through_a_file_and_have_one_hash(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_samples(feeds(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = load_samples(tmp_path / "a.npz")
    assert samples_sha256(back) == samples_sha256(feeds())
    assert samples_sha256(back[:-1]) != samples_sha256(back)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_broken_sample_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "samples.npz").write_bytes(content)
    with pytest.raises(PackageError, match=r"samples\.npz"):
        load_samples(tmp_path / "samples.npz")


def test_each_batch_range_is_a_profile() -> None:
    shapes: builder.InputShapes = {"ids": ("batch", "sequence"), "scale": (1,)}
    first, second = builder.make_profiles(
        shapes, EngineSettings(batches=((1, 1, 1), (2, 8, 32)), axes={"sequence": (1, 64, 128)})
    )
    assert first.shapes["ids"] == ((1, 1), (1, 64), (1, 128))
    assert second.shapes["ids"] == ((2, 1), (8, 64), (32, 128))
    assert second.shapes["scale"] == ((1,), (1,), (1,))


def test_a_dynamic_axis_without_a_range_is_named() -> None:
    with pytest.raises(PackageError, match="'height' is dynamic"):
        builder.make_profiles({"pixels": ("batch", 3, "height", 224)}, EngineSettings())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("batches: [[8, 4, 2]]", "batches"),
        ("precision: int4", "Precisions: fp32"),
        ("speed: high", "speed"),
        ("- 1", "list"),
    ],
)
def test_a_settings_file_at_fault_is_refused_by_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text(text)
    with pytest.raises(PackageError, match=named):
        read_settings(path, ())


def record(plan: bytes, key: HardwareKey = H100, precision: str = "fp16") -> EngineRecord:
    return EngineRecord(
        key=key,
        precision=precision,
        sha256=hashlib.sha256(plan).hexdigest(),
        size_bytes=len(plan),
        source_sha256="0" * 64,
        tensors=(),
        profiles=(),
        optimisation_level=3,
        build_seconds=1,
    )


def test_an_engine_is_found_by_its_hardware_only(tmp_path: Path) -> None:
    store_engine(tmp_path, record(b"plan"), b"plan")
    folder, found = find_engine(tmp_path, H100)
    assert folder.parent.name == "tensorrt-10.6.0.26-sm90-nvidia-h100-80gb-hbm3-linux-x86-64"
    assert found.precision == "fp16"
    others = (
        H100.model_copy(update={"version": "10.6.0.27"}),
        H100.model_copy(update={"gpu_name": "NVIDIA H100 PCIe"}),
        H100.model_copy(update={"compute_capability": "8.9"}),
        H100.model_copy(update={"os": "windows-amd64"}),
        H100.model_copy(update={"compiler": Compiler.TENSORRT_RTX}),
    )
    for other in others:
        with pytest.raises(PackageError, match="no engine for"):
            find_engine(tmp_path, other)
    with pytest.raises(PackageError, match="fp8"):
        find_engine(tmp_path, H100, "fp8")


def test_names_that_share_a_folder_are_told_apart(tmp_path: Path) -> None:
    store_engine(tmp_path, record(b"plan"), b"plan")
    alike = H100.model_copy(update={"gpu_name": "NVIDIA-H100 80GB_HBM3"})
    assert alike.folder == H100.folder
    with pytest.raises(PackageError, match="this machine has"):
        find_engine(tmp_path, alike)


def test_a_changed_moved_or_halved_engine_is_refused(tmp_path: Path) -> None:
    folder = store_engine(tmp_path, record(b"plan"), b"plan")
    assert [one.precision for one in verify_engines(tmp_path)] == ["fp16"]
    (folder / PLAN_NAME).write_bytes(b"plum")
    with pytest.raises(PackageError, match="changed or cut short"):
        find_engine(tmp_path, H100)
    (folder / PLAN_NAME).unlink()
    with pytest.raises(PackageError, match="incomplete"):
        verify_engines(tmp_path)
    folder = store_engine(tmp_path, record(b"new"), b"new")
    moved = folder.rename(folder.with_name("int8"))
    with pytest.raises(PackageError, match="was moved"):
        verify_engine(moved)
    values = json.loads((moved / RECORD_NAME).read_text())
    (moved / RECORD_NAME).write_text(json.dumps({**values, "sha256": "short"}))
    with pytest.raises(PackageError, match=r"engine\.json: sha256: String should match.*Compile the engine again"):
        verify_engine(moved)


def test_a_plan_that_is_not_its_records_leaves_nothing_and_a_new_one_replaces_the_old(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is not the file that"):
        store_engine(tmp_path, record(b"plan"), b"other")
    assert list(engine_folders(tmp_path)) == []
    store_engine(tmp_path, record(b"old"), b"old")
    folder = store_engine(tmp_path, record(b"new"), b"new")
    assert (folder / PLAN_NAME).read_bytes() == b"new"
    assert sorted(path.name for path in folder.iterdir()) == [RECORD_NAME, PLAN_NAME]
    assert [path.name for path in folder.parent.iterdir()] == ["fp16"]


def test_every_output_of_an_engine_counts_and_the_worst_one_decides() -> None:
    """A state beside the answer, with an axis of its own in front, is off in one sample."""
    import torch

    wanted = [{"scores": np.eye(4)[:3], "state": np.ones((2, 3, 5))} for _ in range(3)]
    answers = [{name: torch.from_numpy(array.copy()) for name, array in want.items()} for want in wanted]
    answers[1]["state"][0, 0] = torch.tensor([1.0, 1.0, 1.0, 1.0, 3.0])
    seen = iter([*answers, *answers])
    worst = row_cosines(answers[1]["state"].numpy(), wanted[1]["state"]).min()
    figure = parity(lambda feed: next(seen), [{}] * 3, wanted, "torch", 0.9)
    assert figure.min_cosine == pytest.approx(worst, abs=1e-6)
    assert figure.max_abs == 2
    with pytest.raises(PackageError, match=r"the bound is 0\.99999"):
        parity(lambda feed: next(seen), [{}] * 3, wanted, "torch", 0.99999)
    short = {"scores": torch.ones(3, 4), "state": torch.ones(2, 3, 4)}
    with pytest.raises(PackageError, match="state: the engine answers shape"):
        parity(lambda feed: short, [{}], wanted[:1], "torch", 0.1)


def test_answers_of_one_number_are_compared_over_all_samples() -> None:
    """Alone, the cosine of two numbers is 1 or -1 whatever they are."""
    import torch

    def judged(got: list[float], want: list[float]) -> float:
        answers = iter([{"SPEECH": torch.tensor([[one]])} for one in got])
        wanted = [{"SPEECH": np.array([[one]])} for one in want]
        return parity(lambda feed: next(answers), [{}] * len(got), wanted, "torch", 0.9).min_cosine

    assert judged([0.9, 0.1, 0.01], [0.89, 0.11, 0.01]) > 0.999
    assert judged([0.0, 0.0], [0.0, 0.0]) == 1
    with pytest.raises(PackageError, match=r"the bound is 0\.9"):
        judged([0.9, 0.1, 0.01, 0.99], [0.01, 0.99, 0.5, 0.03])


@pytest.mark.parametrize("damaged", [SOURCE, "variants/samples.npz", "triton/net/config.pbtxt"])
def test_what_was_changed_since_it_was_packaged_is_not_compiled(
    package: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    nothing = libraries.Library(Compiler.TENSORRT, "10.6.0.26", types.SimpleNamespace())
    monkeypatch.setattr(libraries, "load", lambda compiler: nothing)
    monkeypatch.setattr(libraries, "this_machine", lambda library: H100)
    with (package / damaged).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(PackageError, match=f"{damaged}: was changed or cut short"):
        compile_package(package, [EngineSettings()])
    if damaged != SOURCE:
        (package / damaged).unlink()
        with pytest.raises(PackageError, match=f"{damaged}: no such file"):
            compile_package(package, [EngineSettings()])


def test_a_package_without_its_fp32_model_says_what_to_keep(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "load", lambda compiler: None)
    monkeypatch.setattr(libraries, "this_machine", lambda library: H100)
    (package / SOURCE).unlink()
    with pytest.raises(PackageError, match="name fp32 in `variants` and in `keep`"):
        compile_package(package, [EngineSettings()])


def test_a_library_that_cannot_start_says_why() -> None:
    """As TensorRT 11.2 does on a machine without a driver."""

    class Logger:
        class Severity:
            ERROR, INTERNAL_ERROR = "error", "internal error"

        def __init__(self) -> None:
            return

    def no_builder(logger: Any) -> None:
        logger.log(Logger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    trt = types.SimpleNamespace(ILogger=Logger, Builder=no_builder)
    library = libraries.Library(Compiler.TENSORRT, trt, "11.2.1.2")
    with pytest.raises(PackageError, match=r"tensorrt 11\.2\.1\.2 cannot start: CUDA initialization failure"):
        builder.build_plan(library, b"", EngineSettings(), H100)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_without_tensorrt_the_command_says_where_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--package", str(tmp_path), "--precision", "fp16"]) == 1
    said = capsys.readouterr().err
    assert "tensorrt cannot be loaded" in said
    assert "--compiler tensorrt-rtx" in said
    done = CliRunner().invoke(cli, ["package", "compile", str(tmp_path), "--precision", "fp16"])
    assert done.exit_code == 1
    assert "tensorrt cannot be loaded" in done.stderr


def test_a_precision_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["package", "compile", str(tmp_path), "--precision", "int4"])
    assert done.exit_code == 2
    assert "Precisions: fp32, fp16, int8, fp8" in done.stderr


def test_the_portable_model_can_ask_for_the_tensorrt_provider() -> None:
    specs = (TensorSpec(name="pixels", dtype="FP32", shape=(-1, 3, 8, 8)),)
    serving = ServingConfig(accelerator="tensorrt-ep", engine_cache="/engines/")
    ranges = {"pixels": ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))}
    text = to_pbtxt(model_config("net", "onnxruntime", specs, specs, serving, ranges=ranges))
    assert 'name: "tensorrt"' in text
    assert 'value: "/engines/net"' in text
    # Compiled once for every size, and not anew at each request that is larger than those before.
    for key, value in (("min", "pixels:1x3x8x8"), ("opt", "pixels:8x3x8x8"), ("max", "pixels:32x3x8x8")):
        assert f'key: "trt_profile_{key}_shapes"\n        value: "{value}"' in text
    assert "optimization" not in to_pbtxt(model_config("net", "onnxruntime", specs, specs, ServingConfig()))


RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None or sys.platform != "linux",
    reason="TensorRT-RTX is not installed: pip install 'spillway[tensorrt-rtx]'",
)


@RTX
def test_rtx_refuses_what_it_cannot_build_for() -> None:
    library = libraries.load(Compiler.TENSORRT_RTX)
    assert library.version.count(".") == 3
    with pytest.raises(PackageError, match=r"8\.0, 8\.6, 8\.9, 12\.0"):
        libraries.ahead_of_time(library, "9.0")


@RTX
@pytest.mark.heavy
def test_rtx_builds_for_an_ada_gpu_on_a_machine_without_one(network: Path, tmp_path: Path) -> None:
    library = libraries.load(Compiler.TENSORRT_RTX)
    key = libraries.ahead_of_time(library, "8.9")
    for precision in ("fp16", "int8", "fp8"):
        settings = EngineSettings.model_validate({"precision": precision, "batches": [[1, 4, 8]], "axes": {}})
        made, plan = build_engine(library, key, network, feeds(), settings)
        store_engine(tmp_path, made, plan)
        _, found = find_engine(tmp_path, key, precision)
        assert found == made
        assert found.parity is None
        assert (found.tensors[0].name, found.tensors[0].shape) == ("pixels", (-1, 16, 8, 8))
        assert bool(found.calibration_sha256) == (precision != "fp16")
        runtime = library.trt.Runtime(libraries.Messages(library.trt).logger)
        # The library reads its own header: an Ada engine is sound, and what was cut short is not.
        assert runtime.engine_header_size > 0
        broken = runtime.get_engine_validity(b"\0" * runtime.engine_header_size)
        assert broken[0] == library.trt.EngineValidity.INVALID
        told = runtime.get_engine_validity(plan[: runtime.engine_header_size])
        assert not told[1] & int(library.trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)


@pytest.fixture
def package(network: Path, tmp_path: Path) -> Path:
    folder = make_version(tmp_path / "package", "engines")
    (folder / SOURCE).parent.mkdir(parents=True)
    shutil.copyfile(network, folder / SOURCE)
    save_samples(feeds(), folder / "variants" / "samples.npz")
    return reseal(add_portable_model(folder, network))


FIXED = "batches: [[1, 4, 32]]\naxes: {}\n"


@RTX
@pytest.mark.heavy
def test_the_command_compiles_a_package_and_its_digest_stays(package: Path, tmp_path: Path) -> None:
    settings = tmp_path / "engine.yaml"
    settings.write_text(FIXED)
    before = verify_package(package)
    options = ["--compiler", "tensorrt-rtx", "--compute-capability", "8.9", "--settings", str(settings)]
    done = CliRunner().invoke(cli, ["package", "compile", str(package), "--precision", "fp16", *options, "--json"])
    assert done.exit_code == 0, done.stderr
    (told,) = json.loads(done.stdout)
    (found,) = verify_engines(package)
    assert EngineRecord.model_validate(told) == found
    assert verify_package(package) == before
    again = CliRunner().invoke(cli, ["package", "compile", str(package), *options], env={"COLUMNS": "200"})
    assert "not run: built ahead of time" in again.stdout
    gaps = tmp_path / "gaps.yaml"
    gaps.write_text("batches: [[1, 1, 1], [4, 8, 8]]\naxes: {}\n")
    refused = CliRunner().invoke(cli, ["package", "compile", str(package), *options[:-1], str(gaps)])
    assert refused.exit_code == 1
    assert "batches: none takes a batch of 2" in refused.stderr


@RTX
@pytest.mark.heavy
def test_a_job_puts_engines_back_beside_a_package_at_a_url(package: Path, tmp_path: Path) -> None:
    store = MemoryFileSystem()
    store.put(str(package), "/models/net", recursive=True)
    (tmp_path / "engine.yaml").write_text(FIXED)
    job = ["--package", "memory://models/net", "--precision", "int8", "--settings", str(tmp_path / "engine.yaml")]
    assert main([*job, "--compiler", "tensorrt-rtx", "--compute-capability", "12.0"]) == 0
    store.get("/models/net/engines", str(tmp_path / "back" / "engines"), recursive=True)
    (found,) = verify_engines(tmp_path / "back")
    assert (found.precision, found.key.compute_capability, found.key.gpu_name) == ("int8", "12.0", "any")
    store.rm("/models/net/variants/samples.npz")
    assert main([*job, "--compiler", "tensorrt-rtx", "--compute-capability", "12.0"]) == 1


@RTX
@pytest.mark.heavy
def test_rtx_says_why_it_takes_no_file_that_is_not_onnx() -> None:
    library = libraries.load(Compiler.TENSORRT_RTX)
    key = libraries.ahead_of_time(library, "8.9")
    with pytest.raises(PackageError, match="does not take the ONNX file"):
        builder.build_plan(library, b"no model", EngineSettings(), key)


@RTX
@pytest.mark.heavy
def test_an_rtx_engine_becomes_a_triton_model_that_asks_for_its_gpu(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(batches=((1, 4, 32),), axes={})
    compile_package(package, [settings], compiler=Compiler.TENSORRT_RTX, compute_capability="8.9")
    folder, _ = find_engine(package, libraries.ahead_of_time(libraries.load(Compiler.TENSORRT_RTX), "8.9"))
    with tarfile.open(folder / REPOSITORY_NAME) as packed:
        packed.extractall(tmp_path / "models", filter="data")
    model = tmp_path / "models" / "net"
    text = (model / "config.pbtxt").read_text()
    assert 'backend: "python"' in text
    assert "max_batch_size: 32" in text
    assert "KIND_GPU" in text
    assert "graph_spec" not in text

    class RefusalError(Exception):
        pass

    monkeypatch.setitem(
        sys.modules, "triton_python_backend_utils", types.SimpleNamespace(TritonModelException=RefusalError)
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    served = runpy.run_path(str(model / "1" / "model.py"))["TritonPythonModel"]()
    with pytest.raises(RefusalError, match=r"compute capability 8\.9"):
        served.initialize({"model_repository": str(model), "model_version": "1"})
