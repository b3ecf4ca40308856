"""Small packages to put into stores: versions that differ in one file, and engines beside them."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from model_packaging.tensors.layout import write_model
from model_packaging.tensors.settings import ServingConfig
from model_packaging.tensors.triton_config import model_config
from spillway.contracts.manifest import (
    MANIFEST_NAME,
    SAGEMAKER_ARCHIVE,
    SERVING_FILE,
    TRITON_REPOSITORY,
    Manifest,
    TensorSpec,
    describe_files,
    read_manifest,
)
from spillway.contracts.trt_engines import (
    Compiler,
    EngineProfile,
    EngineRecord,
    EngineTensor,
    HardwareKey,
    store_engine,
)
from tests.support.packages import small_package

L4 = HardwareKey(
    compiler=Compiler.TENSORRT, version="10.6.0.26", compute_capability="8.9", gpu_name="NVIDIA L4", os="linux-x86_64"
)
L40S = L4.model_copy(update={"gpu_name": "NVIDIA L40S"})


def make_version(folder: Path, text: str, padding: int = 0) -> Path:
    """A package like the small one, with one more file that says ``text``; all others are the same each time.

    ``padding``: bytes of a further file, different for each text.
    """
    small_package(folder)
    (folder / SAGEMAKER_ARCHIVE).write_bytes(b"archive")
    note = folder / "triton" / "echo" / "1" / "note.txt"
    note.write_text(text)
    if padding:
        block = hashlib.sha256(text.encode()).digest() * 1024
        note.with_name("weights.bin").write_bytes((block * (padding // len(block) + 1))[:padding])
    return reseal(folder)


def reseal(folder: Path, **changes: object) -> Path:
    """The package with its manifest made to fit its files, and these fields changed."""
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_text())
    changed = manifest.model_copy(update={"files": describe_files(folder), **changes})
    (folder / MANIFEST_NAME).write_text(changed.sealed().to_json())
    return folder


def add_portable_model(
    package: Path, onnx_file: Path, serving: ServingConfig | None = None, *, batched: bool = True
) -> Path:
    """The same package with one more model in its repository, in ONNX, with two classes, and how it is served."""
    serving = serving or ServingConfig()
    specs = (TensorSpec(name="pixels", dtype="FP32", shape=(-1, 16, 8, 8)),)
    config = model_config("net", "onnxruntime", specs, specs, serving, batched=batched)
    write_model(package / TRITON_REPOSITORY, config, {"model.onnx": onnx_file}, ("cat", "dog"))
    (package / SERVING_FILE).parent.mkdir(parents=True, exist_ok=True)
    (package / SERVING_FILE).write_text(serving.model_dump_json())
    return package


def add_engine(package: Path, key: HardwareKey, plan: bytes, repository: bytes = b"") -> Path:
    """An engine beside the package; ``repository``: the archive that Triton serves, where there is one."""
    has_manifest = (package / MANIFEST_NAME).is_file()
    record = EngineRecord(
        key=key,
        package_digest=read_manifest(package).digest if has_manifest else "",
        precision="fp16",
        sha256=hashlib.sha256(plan).hexdigest(),
        size_bytes=len(plan),
        source_sha256="0" * 64,
        tensors=(EngineTensor(name="x", mode="input", dtype="float32", shape=(-1, 4)),),
        profiles=(EngineProfile(shapes={"x": ((1, 4), (8, 4), (32, 4))}),),
        optimisation_level=3,
        build_seconds=1.0,
        repository_sha256=hashlib.sha256(repository).hexdigest() if repository else "",
    )
    if not repository:
        return store_engine(package, record, plan)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, "repository.tar.gz")
        archive.write_bytes(repository)
        return store_engine(package, record, plan, archive)


def version_of(package: Path) -> str:
    return read_manifest(package).version
