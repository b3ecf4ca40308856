"""The archive that Triton serves an engine from: what is in it, what its configuration says, that Triton reads it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packaging.pbtxt import ModelConfig, read_pbtxt, to_pbtxt
from model_packaging.sources.model import TextCodec
from model_packaging.tensorrt.settings import EngineSettings
from model_packaging.tensorrt.triton import (
    Portable,
    check_profiles,
    engine_config,
    portable_model,
    write_engine_archive,
)
from model_packaging.tensors.settings import ServingConfig
from model_packaging.tensors.triton_config import tokenizer_config
from spillway.contracts.manifest import SERVING_FILE, PackageError, read_manifest
from spillway.contracts.trt_engines import (
    REPOSITORY_NAME,
    Compiler,
    EngineProfile,
    EngineRecord,
    EngineTensor,
    find_engine,
    store_engine,
    verify_engine,
)
from spillway.twin.data_plane.processes.triton import TritonPorts, triton_command
from tests.model_packaging.packages import L4, add_portable_model, make_version, reseal
from tests.support.triton import TOOLS

PLAN = b"a plan"
IMAGES = EngineProfile(shapes={"pixels": ((1, 16, 8, 8), (8, 16, 8, 8), (32, 16, 8, 8))})


def record(profiles: tuple[EngineProfile, ...] = (IMAGES,), compiler: Compiler = Compiler.TENSORRT) -> EngineRecord:
    inputs = {name: sizes[0] for name, sizes in profiles[0].shapes.items()}
    tensors = [
        EngineTensor(
            name=name,
            mode="input",
            dtype="float32" if len(shape) > 2 else "int64",
            shape=(-1, *(shape[1:] if len(shape) > 2 else (-1,))),
        )
        for name, shape in inputs.items()
    ]
    return EngineRecord(
        key=L4.model_copy(update={"compiler": compiler}),
        precision="fp16",
        sha256=hashlib.sha256(PLAN).hexdigest(),
        size_bytes=len(PLAN),
        source_sha256="0" * 64,
        tensors=(*tensors, EngineTensor(name="SCORES", mode="output", dtype="float32", shape=(-1, 2))),
        profiles=profiles,
        optimisation_level=3,
        build_seconds=1,
    )


def texts(*batches: tuple[int, int, int]) -> tuple[EngineProfile, ...]:
    least, tuned, most = 1, 128, 256
    return tuple(
        EngineProfile(shapes=dict.fromkeys(("input_ids", "attention_mask"), ((a, least), (b, tuned), (c, most))))
        for a, b, c in batches
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    portable = tmp_path / "model.onnx"
    portable.write_bytes(b"portable")
    return reseal(add_portable_model(make_version(tmp_path / "package", "engines"), portable))


def packed_config(archive: Path, folder: Path) -> ModelConfig:
    """What the archive's ``net`` is configured as."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "packed", filter="data")
    return read_pbtxt(folder / "packed" / "net" / "config.pbtxt")


def test_the_repository_is_the_packages_with_the_engine_in_it(package: Path, tmp_path: Path) -> None:
    archive, again = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    write_engine_archive(package, record(), PLAN, archive)
    # What a server that ran on the folder leaves there.
    (package / "triton" / "echo" / "1" / "__pycache__").mkdir()
    (package / "triton" / "echo" / "1" / "__pycache__" / "model.pyc").write_bytes(b"byte code")
    write_engine_archive(package, record(), PLAN, again)
    assert archive.read_bytes() == again.read_bytes()
    with tarfile.open(archive) as packed:
        names = [member.name for member in packed if member.isfile()]
        plan, labels, config = (
            packed.extractfile(f"net/{name}").read()  # type: ignore[union-attr]
            for name in ("1/model.plan", "labels.txt", "config.pbtxt")
        )
    assert "echo/1/model.py" in names
    assert not [name for name in names if name.endswith(".onnx")]
    assert (plan, labels) == (PLAN, b"cat\ndog\n")
    for line in (b'backend: "tensorrt"', b'label_filename: "labels.txt"', b"max_batch_size: 32", b"KIND_GPU"):
        assert line in config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "one.tar.gz", "package", "two.tar.gz"]


def test_an_engine_serves_as_the_package_says(package: Path, tmp_path: Path) -> None:
    given = {"instances": 3, "batching": {"max_queue_size": 7}, "warm_up": False, "response_cache": True}
    serving = ServingConfig.model_validate(given)
    reseal(package, entry_model="net")
    (package / SERVING_FILE).write_text(serving.model_dump_json())
    archive = tmp_path / "one.tar.gz"
    write_engine_archive(package, record(), PLAN, archive)
    config = packed_config(archive, tmp_path)
    assert [group.count for group in config.instance_group] == [3]
    policies = config.dynamic_batching.priority_queue_policy
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert [policies[priority].max_queue_size for priority in sorted(policies)] == [7, 7, 7]
    assert not config.model_warmup
    assert config.response_cache.enable


def test_each_profile_is_offered_and_no_launch_recorded_that_another_profile_would_refuse() -> None:
    config = engine_config("net", record(texts((1, 1, 1), (2, 8, 8), (9, 32, 32))), ServingConfig())
    assert config.instance_group[0].profile == ["0", "1", "2"]
    assert not config.HasField("optimization")


def test_with_one_profile_launches_are_recorded_for_likely_shapes() -> None:
    config = engine_config("net", record(texts((1, 8, 32))), ServingConfig())
    specs = config.optimization.cuda.graph_spec
    shapes = [(spec.batch_size, spec.input["input_ids"].dim[0]) for spec in specs]
    assert len(set(shapes)) == len(shapes)
    assert (8, 128) in shapes
    assert sorted(length for batch, length in shapes if batch == 1) == list(range(16, 257, 16))


def test_requests_for_a_model_without_a_batch_axis_are_never_joined(tmp_path: Path) -> None:
    """Its first axis is free, and is not the batch's."""
    portable = tmp_path / "model.onnx"
    portable.write_bytes(b"portable")
    package = reseal(add_portable_model(make_version(tmp_path / "package", "one"), portable, batched=False))
    archive = tmp_path / "one.tar.gz"
    write_engine_archive(package, record(), PLAN, archive)
    config = packed_config(archive, tmp_path)
    assert config.max_batch_size == 0
    assert [list(one.dims) for one in config.input] == [[-1, 16, 8, 8]]
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert config.dynamic_batching.priority_levels == 3


def test_no_launch_is_recorded_for_a_batch_that_never_comes() -> None:
    config = engine_config("net", record(texts((1, 8, 8))), ServingConfig(max_batch_size=4))
    assert config.max_batch_size == 4
    assert {spec.batch_size for spec in config.optimization.cuda.graph_spec} == {1}


RANGE = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)).map(lambda sizes: tuple(sorted(sizes)))


ALONE = Portable(Path("net"), batched=False, longest_text=None)
JOINED = Portable(Path("net"), batched=True, longest_text=None)


@given(st.lists(RANGE, min_size=1, max_size=4), st.integers(1, 12))
def test_a_batch_without_a_profile_is_refused(batches: list[tuple[int, int, int]], largest: int) -> None:
    settings, serving = EngineSettings.model_validate({"batches": batches}), ServingConfig(max_batch_size=largest)
    check_profiles(settings, ALONE, serving)
    most = max(batch[2] for batch in batches)
    missing = [size for size in range(1, most + 1) if not any(low <= size <= high for low, _, high in batches)]
    if not missing and largest <= most:
        check_profiles(settings, JOINED, serving)
        return
    told = f"none takes a batch of {missing[0]} " if missing else f"none takes more than {most}, .* up to {largest} "
    with pytest.raises(PackageError, match=told):
        check_profiles(settings, JOINED, serving)


@pytest.mark.parametrize(("most", "longest", "fits"), [(256, 256, True), (256, 512, False), (250, 256, False)])
def test_a_text_without_a_profile_is_refused(package: Path, most: int, longest: int, fits: bool) -> None:
    folder = package / "triton" / "net_tokenizer"
    folder.mkdir()
    # Texts are cut a little below, and padded up to it.
    text = TextCodec(Path("tokenizer.json"), longest - 3, ServingConfig().pad_to_multiple_of)
    (folder / "config.pbtxt").write_text(to_pbtxt(tokenizer_config("net_tokenizer", text, ServingConfig())))
    portable = portable_model(package)
    assert portable.longest_text == longest
    settings = EngineSettings(axes={"sequence": (1, 128, most)})
    if fits:
        check_profiles(settings, portable, ServingConfig())
        return
    with pytest.raises(PackageError, match=rf"sequence goes from 1 to {most} tokens.*\[1, 128, {longest}\]"):
        check_profiles(settings, portable, ServingConfig())


def test_a_package_without_a_portable_model_or_its_serving_is_refused(package: Path, tmp_path: Path) -> None:
    (package / "triton" / "net" / "config.pbtxt").unlink()
    with pytest.raises(PackageError, match="has 0 models in ONNX"):
        write_engine_archive(package, record(), PLAN, tmp_path / "one.tar.gz")
    shutil.rmtree(package / "triton")
    with pytest.raises(PackageError, match="name a Triton target"):
        write_engine_archive(package, record(), PLAN, tmp_path / "one.tar.gz")
    (package / SERVING_FILE).unlink()
    with pytest.raises(PackageError, match="package the model again"):
        write_engine_archive(package, record(), PLAN, tmp_path / "one.tar.gz")
    assert not (tmp_path / "one.tar.gz").exists()


def test_a_changed_or_missing_archive_is_noticed(package: Path, tmp_path: Path) -> None:
    archive = tmp_path / "one.tar.gz"
    write_engine_archive(package, record(), PLAN, archive)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    own = {"repository_sha256": sha256, "package_digest": read_manifest(package).digest}
    whole = record().model_copy(update=own)
    with pytest.raises(PackageError, match="no such file"):
        store_engine(package, whole, PLAN)
    folder = store_engine(package, whole, PLAN, archive)
    assert verify_engine(folder) == whole
    (folder / REPOSITORY_NAME).write_bytes(archive.read_bytes() + b" ")
    with pytest.raises(PackageError, match="changed or cut short"):
        find_engine(package, whole.key)


@pytest.mark.heavy
@pytest.mark.skipif(not (TOOLS / "triton").is_dir(), reason="Triton is not unpacked under .tools (the set-up does it)")
def test_triton_reads_the_configuration_and_asks_for_its_tensorrt_backend(package: Path, tmp_path: Path) -> None:
    """The wheel's Triton has no TensorRT backend: it must come as far as asking for it."""
    archive, models = tmp_path / "one.tar.gz", tmp_path / "models"
    write_engine_archive(package, record(texts((1, 8, 8))), PLAN, archive)
    with tarfile.open(archive) as packed:
        packed.extractall(models, filter="data")
    argv, env = triton_command(TOOLS, models, TritonPorts(0, 0))
    quiet = [*argv, "--allow-http=false", "--allow-metrics=false"]
    done = subprocess.run(quiet, env=env, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert "unable to find backend library for backend 'tensorrt'" in said, said[-3000:]
    assert "parsing text-format" not in said


def test_the_configuration_is_text_that_names_no_portable_option() -> None:
    serving = ServingConfig(accelerator="tensorrt-ep", intra_op_threads=4)
    text = to_pbtxt(engine_config("net", record(), serving))
    assert "intra_op" not in text
    assert "execution_accelerators" not in text
