from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policies.resources import Context, Resource
from spillway.contracts.engines import RECORD_NAME, EngineParity, HardwareKey, read_record
from spillway.contracts.manifest import MANIFEST_NAME, Manifest, read_manifest
from tests.packaging.packages import L4, add_engine
from tests.policies.support import Case, check_case, found, resource
from tests.support.packages import small_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return small_package(tmp_path / "package")


def rewritten(folder: Path, **changes: object) -> Manifest:
    """The package with another, well-sealed manifest."""
    manifest = Manifest.model_validate({**read_manifest(folder).model_dump(), **changes}).sealed()
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return manifest


def case(good: Path, bad: Path) -> Case:
    return Case([], [], passing_context=Context(package=good), failing_context=Context(package=bad))


def test_a_manifest_is_whole(package: Path, tmp_path: Path) -> None:
    other = small_package(tmp_path / "other")
    edited = json.loads((other / MANIFEST_NAME).read_text())
    edited["parity"][0]["min_cosine"] = 0.5
    (other / MANIFEST_NAME).write_text(json.dumps(edited))
    check_case("package-sound", case(package, other))
    check_case("package-sound", case(package, tmp_path / "nowhere"))


def test_a_package_was_compared_and_passed(package: Path, tmp_path: Path) -> None:
    never = small_package(tmp_path / "never")
    rewritten(never, parity=())
    check_case("package-parity", case(package, never))
    failed = small_package(tmp_path / "failed")
    figure = read_manifest(failed).parity[0].model_copy(update={"passed": False, "min_cosine": 0.2})
    rewritten(failed, parity=(figure.model_dump(),))
    check_case("package-parity", case(package, failed))


def deployed(folder: Path, key: HardwareKey = L4) -> list[Resource]:
    address = f"packages/echo/1/engines/{key.folder}/fp16/0123456789abcdef.tar.gz"
    others = ("packages/echo/1/sagemaker/model.tar.gz", "packages/echo/1/manifest.json")
    return [resource("aws:s3/bucketObjectv2:BucketObjectv2", key=item) for item in (address, *others)]


def with_parity(folder: Path, min_cosine: float) -> None:
    """The record as the compiler writes it where it could run the engine."""
    parity = EngineParity(
        reference="torch fp32",
        samples=3,
        min_cosine=min_cosine,
        mean_cosine=0.999,
        max_abs=0.1,
        bound_min_cosine=0.99,
    )
    record = read_record(folder).model_copy(update={"parity": parity})
    (folder / RECORD_NAME).write_text(record.to_json())


def test_an_engine_that_is_deployed_was_compared_and_passed(package: Path) -> None:
    engine = add_engine(package, L4, b"plan", b"archive")
    context, stack = Context(package=package), deployed(package)
    # Built ahead of time: nobody has run it.
    assert found("package-parity", stack, context=context).violations
    with_parity(engine, 0.98)
    assert found("package-parity", stack, context=context).violations
    with_parity(engine, 0.995)
    assert found("package-parity", stack, context=context).violations == ()
    assert found("package-parity", stack, {"min_cosine": 0.999}, context).violations
    assert found("package-parity", [], context=context).violations == (), "one that is not deployed is not judged"


def test_the_record_of_an_engine_that_is_deployed_is_there(package: Path) -> None:
    engine = add_engine(package, L4, b"plan", b"archive")
    context, stack = Context(package=package), deployed(package)
    assert found("package-sound", stack, context=context).violations == ()
    (engine / RECORD_NAME).write_text("{}")
    assert found("package-sound", stack, context=context).violations


def test_an_engine_that_is_deployed_is_signed(package: Path, tmp_path: Path) -> None:
    signing = pytest.importorskip("model_packaging.registry.signing")
    private = tmp_path / "key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context, stack = Context(package=package), deployed(package)
    signing.sign(package, private, None)
    add_engine(package, L4, b"plan", b"archive")
    assert found("package-signed", stack, context=context).violations, "it came after the signature"
    fingerprint = signing.sign(package, private, None)
    assert found("package-signed", stack, context=context).violations == ()
    assert found("package-signed", stack, {"key_sha256": [fingerprint]}, context).violations == ()


def test_a_stack_may_ask_for_more(package: Path) -> None:
    manifest = read_manifest(package)
    figure = manifest.parity[0].model_copy(update={"min_cosine": 0.995})
    rewritten(package, parity=(figure.model_dump(),))
    context = Context(package=package)
    assert found("package-parity", [], context=context).violations == ()
    assert found("package-parity", [], {"min_cosine": 0.999}, context).violations


def test_a_package_is_signed_by_a_known_key(package: Path, tmp_path: Path) -> None:
    signing = pytest.importorskip("model_packaging.registry.signing")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private = tmp_path / "key.pem"
    private.write_bytes(pem)
    signed = small_package(tmp_path / "signed")
    fingerprint = signing.sign(signed, private, None)
    check_case("package-signed", case(signed, package))
    context = Context(package=signed)
    assert found("package-signed", [], {"key_sha256": [fingerprint]}, context).violations == ()
    assert found("package-signed", [], {"key_sha256": ["0" * 64]}, context).violations
    rewritten(signed, served={"triton": "int8"})
    assert found("package-signed", [], context=context).violations
