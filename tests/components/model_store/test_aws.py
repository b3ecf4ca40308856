"""The model store's resources on AWS."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.model_store.content import SiteContent, Upload
from components.model_store.settings import ModelStoreSettings
from spillway.contracts.classes import Site, SiteName
from spillway.contracts.manifest import Manifest, PackageSource, describe_files
from spillway.contracts.targets import Layout
from stacks.package import Package
from tests.support.recording import Recorded, context, of_type, record

TRITON = {Layout.TRITON: "fp32", Layout.SAGEMAKER: "fp32"}
FILES = {
    "triton": ("triton/m/config.pbtxt", "sagemaker/model.tar.gz"),
    "vllm": ("vllm/config.json", "vllm/model.safetensors", "vllm/SHA256SUMS", "azureml/deployment.yaml"),
}


def package(folder: Path, kind: str = "triton", *more: str) -> Manifest:
    for name in (*FILES[kind], *more):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    manifest = Manifest(
        name="mini_lm",
        version="",
        digest="",
        kind=kind,  # pyright: ignore[reportArgumentType]
        entry_model="minilm",
        served=TRITON if kind == "triton" else {Layout.VLLM: "w8a16"},
        files=describe_files(folder),
        inputs=(),
        outputs=(),
        source=PackageSource(name="m", origin="test", licence="MIT"),
    ).sealed()
    (folder / "manifest.json").write_text(manifest.to_json())
    return manifest


LAYOUTS = {Site.PRIVATE: Layout.TRITON, Site.SAGEMAKER: Layout.SAGEMAKER}


def build(
    folder: Path,
    settings: dict[str, Any] | None = None,
    kind: str = "triton",
    more: tuple[str, ...] = (),
    sites: tuple[Site, ...] = (Site.PRIVATE, Site.SAGEMAKER),
    addresses: dict[SiteName, str] | None = None,
    **who: Any,
) -> list[Recorded]:
    """``addresses``: filled in with where each site finds what it serves."""
    from components.model_store.aws import AwsModelStore, AwsModelStoreArgs

    manifest = package(folder, kind, *more)
    args = AwsModelStoreArgs(
        settings=ModelStoreSettings(**(settings or {})),
        region="eu-west-1",
        account_id="123456789012",
        package_dir=folder,
        manifest=manifest,
        contents={site: Package(manifest, folder).content(site, LAYOUTS[site]) for site in sites},
    )

    def make() -> None:
        for site, stored in AwsModelStore(context(**who), args).stored.items():
            stored.uri.apply(lambda uri, site=site: (addresses if addresses is not None else {}).update({site: uri}))

    return record(make)


def only(resources: list[Recorded], type_: str) -> dict[str, Any]:
    (found,) = of_type(resources, type_)
    return found.inputs


def test_bucket_is_versioned_encrypted_private_and_tls_only(tmp_path: Path) -> None:
    resources = build(tmp_path)
    assert only(resources, "aws:s3/bucketVersioning:BucketVersioning")["versioningConfiguration"] == {
        "status": "Enabled"
    }
    encryption = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    rule = only(resources, encryption)["rules"][0]
    assert rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "aws:kms"
    assert rule["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"]
    block = only(resources, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
    assert all(block[key] for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls"))
    statement = json.loads(only(resources, "aws:s3/bucketPolicy:BucketPolicy")["policy"])["Statement"][0]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert only(resources, "aws:kms/key:Key")["enableKeyRotation"] is True


def test_data_goes_only_where_protection_is_off(tmp_path: Path) -> None:
    assert only(build(tmp_path), "aws:s3/bucket:Bucket")["forceDestroy"] is False
    assert only(build(tmp_path, protect_data=False), "aws:s3/bucket:Bucket")["forceDestroy"] is True


def test_old_versions_end_and_current_ones_stay(tmp_path: Path) -> None:
    rule = only(build(tmp_path), "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")["rules"][0]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 90, "newerNoncurrentVersions": 3}
    assert "expiration" not in rule


def stored(resources: list[Recorded]) -> dict[str, dict[str, Any]]:
    """Objects by their key below the package's prefix."""
    objects = of_type(resources, "aws:s3/bucketObjectv2:BucketObjectv2")
    return {found.inputs["key"].split("/", 3)[3]: found.inputs for found in objects}


def test_what_two_sites_share_is_uploaded_once_with_its_checksum(tmp_path: Path) -> None:
    addresses: dict[SiteName, str] = {}
    objects = stored(build(tmp_path, addresses=addresses))
    assert set(objects) == {"sagemaker/model.tar.gz", "manifest.json"}
    manifest = package(tmp_path)
    archive = objects["sagemaker/model.tar.gz"]
    assert archive["key"] == f"packages/mini_lm/{manifest.version}/sagemaker/model.tar.gz"
    assert archive["metadata"]["sha256"] == hashlib.sha256(b"sagemaker/model.tar.gz").hexdigest()
    assert archive["serverSideEncryption"] == "aws:kms"
    assert objects["manifest.json"]["metadata"]["digest"] == manifest.digest
    bucket = "spillway-test-models-123456789012-eu-west-1"
    assert addresses == dict.fromkeys((Site.PRIVATE, Site.SAGEMAKER), f"s3://{bucket}/{archive['key']}")


def test_a_private_site_with_an_archive_of_its_own_finds_that_one(tmp_path: Path) -> None:
    addresses: dict[SiteName, str] = {}
    objects = stored(build(tmp_path / "both", more=("triton.tar.gz",), addresses=addresses))
    assert set(objects) == {"sagemaker/model.tar.gz", "triton.tar.gz", "manifest.json"}
    assert objects["triton.tar.gz"]["metadata"]["sha256"] == hashlib.sha256(b"triton.tar.gz").hexdigest()
    assert addresses[Site.PRIVATE].endswith("/triton.tar.gz")
    assert addresses[Site.SAGEMAKER].endswith("/sagemaker/model.tar.gz")
    alone = stored(build(tmp_path / "alone", more=("triton.tar.gz",), sites=(Site.PRIVATE,)))
    assert set(alone) == {"triton.tar.gz", "manifest.json"}, "nobody fetches SageMaker's"


def test_content_from_elsewhere_is_stored_like_the_packages_own(tmp_path: Path) -> None:
    from components.model_store.aws import AwsModelStore, AwsModelStoreArgs

    upload = Upload(tmp_path / "elsewhere.tar.gz", "engines/l4/fp16/repository.tar.gz", "e" * 64)
    upload.path.write_bytes(b"compiled")
    args = AwsModelStoreArgs(
        settings=ModelStoreSettings(),
        region="eu-west-1",
        account_id="123456789012",
        package_dir=tmp_path,
        manifest=package(tmp_path),
        contents={Site.PRIVATE: SiteContent(upload.key, upload.sha256, (upload,))},
    )
    objects = stored(record(lambda: AwsModelStore(context(), args)))
    assert set(objects) == {upload.key, "manifest.json"}
    assert objects[upload.key]["metadata"]["sha256"] == upload.sha256


def test_vllm_package_is_uploaded_file_by_file(tmp_path: Path) -> None:
    addresses: dict[SiteName, str] = {}
    objects = stored(build(tmp_path, kind="vllm", addresses=addresses))
    assert set(objects) == {"vllm/config.json", "vllm/model.safetensors", "vllm/SHA256SUMS", "manifest.json"}
    assert addresses[Site.PRIVATE] == addresses[Site.SAGEMAKER]
    assert addresses[Site.PRIVATE].endswith("/vllm/")


def test_upload_and_access_log_follow_the_settings(tmp_path: Path) -> None:
    resources = build(tmp_path, {"upload_package": False, "aws": {"access_log_bucket": "logs"}})
    assert not of_type(resources, "aws:s3/bucketObjectv2:BucketObjectv2")
    assert only(resources, "aws:s3/bucketLogging:BucketLogging")["targetBucket"] == "logs"


def test_group_name_is_one_that_sagemaker_takes(tmp_path: Path) -> None:
    group = only(build(tmp_path), "aws:sagemaker/modelPackageGroup:ModelPackageGroup")
    assert group["modelPackageGroupName"] == "spillway-test-mini-lm"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"courier": {"bandwidth": "fast"}}, "bandwidth"),
        ({"redis": {"memory": "2GB"}}, "memory"),
        ({"aws": {"bucket_name": "Not_A_Bucket"}}, "bucket_name"),
    ],
)
def test_settings_refuse_what_cannot_work(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelStoreSettings(**part)
