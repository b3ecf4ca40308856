"""What each site of a stack is told to fetch of the package: an address in the store, and a digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.gpus import COMPUTE_CAPABILITIES
from spillway.contracts.manifest import TRITON_ARCHIVE, read_manifest
from spillway.contracts.prices import catalogue
from spillway.contracts.targets import Layout
from spillway.contracts.trt_engines import RECORD_NAME, REPOSITORY_NAME, HardwareKey, read_record
from stacks.engines import library_loads, runs_on
from tests.model_packaging.packages import L4, add_engine, reseal
from tests.program.site import Found, plain
from tests.stacks.files import changed, example
from tests.support.packages import small_package
from tests.support.plans import preview


def planned(folder: Path, package: Path, **changes: object) -> Found:
    keys = {f"spillway:{key.replace('__', '.')}": value for key, value in changes.items()}
    config = changed(example("local"), {"spillway:package.path": str(package), **keys})
    return Found(preview(folder, config).resources)


def model_server(found: Found) -> tuple[str, str, str]:
    """Address and digest that the private site's pods fetch by, and the digest that rolls out new ones."""
    (template,) = (
        plain(resource.inputs)["spec"]["template"]
        for resource in found.of("kubernetes:apps/v1:Deployment")
        if resource.name.endswith("model-server-deployment")
    )
    (fetch,) = template["spec"]["initContainers"]
    given = {entry["name"]: entry.get("value") for entry in fetch["env"]}
    note = template["metadata"]["annotations"]["spillway.dev/package-sha256"]
    return given["SPILLWAY_PACKAGE_URI"], given["SPILLWAY_PACKAGE_SHA256"], note


def objects(found: Found) -> dict[str, dict[str, Any]]:
    """Inputs of the bucket's objects by address, without those that go on to Azure."""
    given = [plain(resource.inputs) for resource in found.of("aws:s3/bucketObjectv2:BucketObjectv2")]
    return {f"s3://{item['bucket']}/{item['key']}": item for item in given if "/azureml/" not in item["key"]}


@pytest.mark.heavy
def test_sites_with_one_variant_share_an_archive(tmp_path: Path) -> None:
    package = small_package(tmp_path / "package")
    found = planned(tmp_path / "project", package)
    archive = found.inputs("aws:sagemaker/model:Model")["primaryContainer"]["modelDataUrl"]
    sha256 = hashlib.sha256((package / "sagemaker/model.tar.gz").read_bytes()).hexdigest()
    assert model_server(found) == (archive, sha256, sha256)
    assert objects(found)[archive]["metadata"]["sha256"] == sha256
    assert len(objects(found)) == 2, "the archive and the manifest"


@pytest.mark.heavy
def test_a_private_site_with_another_variant_fetches_its_own_archive(tmp_path: Path) -> None:
    package = small_package(tmp_path / "package")
    (package / TRITON_ARCHIVE).write_bytes(b"another variant")
    reseal(package)
    found = planned(tmp_path / "project", package)
    burst = found.inputs("aws:sagemaker/model:Model")["primaryContainer"]["modelDataUrl"]
    address, *digests = model_server(found)
    stored = objects(found)
    assert digests == [hashlib.sha256(b"another variant").hexdigest()] * 2
    assert stored[address]["metadata"]["sha256"] == digests[0]
    assert stored[burst]["metadata"]["sha256"] == read_manifest(package).delivery(Layout.SAGEMAKER).sha256 != digests[0]
    assert len(stored) == 3


@pytest.mark.heavy
def test_each_site_fetches_the_engine_that_it_is_given(tmp_path: Path) -> None:
    package = small_package(tmp_path / "package")
    private = L4.model_copy(update={"version": "10.5.0.18"})
    burst = private.model_copy(update={"gpu_name": "NVIDIA A10G", "compute_capability": "8.6"})
    folders = {key.gpu_name: add_engine(package, key, b"plan", key.gpu_name.encode()) for key in (private, burst)}
    found = planned(
        tmp_path / "project",
        package,
        model_server__engine=f"{private.folder}/fp16",
        # An image of one's own, whatever TensorRT is in it.
        model_server__triton_image="registry.example/tritonserver:24.05-trt10.5",
        burst__sagemaker__engine=f"{burst.folder}/fp16",
        burst__sagemaker__instance_type="ml.g5.xlarge",
        burst__sagemaker__container_version="25.09",
    )
    archive = found.inputs("aws:sagemaker/model:Model")["primaryContainer"]["modelDataUrl"]
    address, *digests = model_server(found)
    stored = objects(found)
    sums = {
        name: hashlib.sha256((folder / REPOSITORY_NAME).read_bytes()).hexdigest() for name, folder in folders.items()
    }
    assert digests == [sums["NVIDIA L4"]] * 2
    assert stored[address]["metadata"]["sha256"] == sums["NVIDIA L4"]
    assert stored[archive]["metadata"]["sha256"] == sums["NVIDIA A10G"]
    # Compiled again, it is another object: none ever changes.
    assert sums["NVIDIA L4"][:16] in address
    assert len(stored) == 3, "two engines and the manifest"


@pytest.mark.heavy
@pytest.mark.parametrize("compatible", [False, True])
def test_triton_lets_an_engine_bring_its_own_runtime_where_it_does(tmp_path: Path, compatible: bool) -> None:
    package = small_package(tmp_path / "package")
    folder = add_engine(package, L4.model_copy(update={"version": "10.5.0.18"}), b"plan", b"archive")
    record = read_record(folder).model_copy(update={"version_compatible": compatible})
    (folder / RECORD_NAME).write_text(record.to_json())
    found = planned(tmp_path / "project", package, model_server__engine=f"{record.key.folder}/fp16")
    (server,) = (
        plain(resource.inputs)["spec"]["template"]["spec"]["containers"][0]
        for resource in found.of("kubernetes:apps/v1:Deployment")
        if resource.name.endswith("model-server-deployment")
    )
    assert ("--backend-config=tensorrt,version-compatible=true" in server["command"]) == compatible


A100 = L4.model_copy(update={"gpu_name": "NVIDIA A100-SXM4-40GB", "compute_capability": "8.0"})
A10G = L4.model_copy(update={"gpu_name": "NVIDIA A10G", "compute_capability": "8.6"})


@pytest.mark.parametrize(
    ("gpu", "key", "compatibility", "runs"),
    [
        ("L4", L4, "none", True),
        ("L40S", L4, "none", False),
        ("A10", A10G, "none", False),
        ("A100-40GB", A100, "none", True),
        ("A100-80GB", A100, "none", False),
        (
            "H100",
            L4.model_copy(update={"gpu_name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}),
            "none",
            True,
        ),
        ("MI300X", L4, "none", False),
        ("L40S", L4, "same-compute-capability", True),
        ("A10G", L4, "same-compute-capability", False),
        ("H200", L4, "ampere-plus", True),
        ("T4", L4, "ampere-plus", False),
        ("L40S", L4.model_copy(update={"gpu_name": "any"}), "none", True),
        ("A10G", L4.model_copy(update={"gpu_name": "any"}), "none", False),
    ],
)
def test_which_gpu_runs_an_engine(tmp_path: Path, gpu: str, key: HardwareKey, compatibility: str, runs: bool) -> None:
    record = read_record(add_engine(tmp_path, key, b"plan"))
    assert runs_on(gpu, record.model_copy(update={"hardware_compatibility": compatibility})) == runs


def test_every_gpu_of_the_price_table_is_known() -> None:
    rented = {price.gpu.partition("-")[0] for price in catalogue()}
    assert rented - {"MI300X"} == set(COMPUTE_CAPABILITIES)


@pytest.mark.parametrize(
    ("image", "engine_version", "compatible", "loads"),
    [
        ("10.5.0.18", "10.5.0.18", False, True),
        ("10.5.0.18", "10.6.0.26", False, False),
        ("8.6.1", "8.6.1.6", False, True),
        ("10.5.0.18", "10.4.0.26", False, False),
        ("10.5.0.18", "10.4.0.26", True, True),
        ("10.5.0.18", "10.6.0.26", True, False),
        ("11.1.0.1", "10.6.0.26", True, False),
    ],
)
def test_which_library_loads_an_engine(
    tmp_path: Path, image: str, engine_version: str, compatible: bool, loads: bool
) -> None:
    folder = add_engine(tmp_path, L4.model_copy(update={"version": engine_version}), b"plan")
    record = read_record(folder).model_copy(update={"version_compatible": compatible})
    assert library_loads(image, record) == loads
