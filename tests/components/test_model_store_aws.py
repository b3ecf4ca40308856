"""The model store's resources on AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.model_store.settings import ModelStoreSettings
from spillway.contracts.manifest import Manifest, PackageSource, describe_files
from tests.support.recording import Recorded, context, of_type, record


def package(folder: Path, kind: str = "triton") -> Manifest:
    files = ["sagemaker/model.tar.gz"] if kind == "triton" else ["vllm/config.json", "vllm/model.safetensors"]
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    manifest = Manifest(
        name="mini_lm",
        version="",
        digest="",
        kind=kind,  # pyright: ignore[reportArgumentType]
        entry_model="minilm",
        precision="fp32",
        files=describe_files(folder),
        inputs=(),
        outputs=(),
        source=PackageSource(name="m", origin="test", licence="MIT"),
    ).sealed()
    (folder / "manifest.json").write_text(manifest.to_json())
    return manifest


def build(folder: Path, settings: dict[str, Any] | None = None, kind: str = "triton", **who: Any) -> list[Recorded]:
    from components.model_store.aws import AwsModelStore, AwsModelStoreArgs

    args = AwsModelStoreArgs(
        settings=ModelStoreSettings(**(settings or {})),
        region="eu-west-1",
        account_id="123456789012",
        package_dir=folder,
        manifest=package(folder, kind),
    )
    return record(lambda: AwsModelStore(context(**who), args))


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


def test_package_is_uploaded_with_its_checksum(tmp_path: Path) -> None:
    resources = build(tmp_path)
    objects = {
        r.inputs["key"].rsplit("/", 1)[1]: r.inputs for r in of_type(resources, "aws:s3/bucketObjectv2:BucketObjectv2")
    }
    assert set(objects) == {"model.tar.gz", "manifest.json"}
    manifest = package(tmp_path)
    assert objects["model.tar.gz"]["key"] == f"packages/mini_lm/{manifest.version}/model.tar.gz"
    assert objects["model.tar.gz"]["metadata"]["sha256"] == manifest.files[0].sha256
    assert objects["model.tar.gz"]["serverSideEncryption"] == "aws:kms"
    assert objects["manifest.json"]["metadata"]["digest"] == manifest.digest


def test_vllm_package_is_uploaded_file_by_file(tmp_path: Path) -> None:
    objects = of_type(build(tmp_path, kind="vllm"), "aws:s3/bucketObjectv2:BucketObjectv2")
    keys = {r.inputs["key"].split("/", 3)[3] for r in objects}
    assert keys == {"vllm/config.json", "vllm/model.safetensors", "manifest.json"}


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
        ({"rclone": {"schedule": "hourly"}}, "five fields"),
        ({"redis": {"memory": "2GB"}}, "memory"),
        ({"aws": {"bucket_name": "Not_A_Bucket"}}, "bucket_name"),
    ],
)
def test_settings_refuse_what_cannot_work(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelStoreSettings(**part)
