from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policies.resources import Context
from spillway.contracts.manifest import MANIFEST_NAME, Manifest, read_manifest
from tests.policies.support import Case, check_case, found
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
