from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policies.resources import Context
from spillway.contracts.manifest import AS_IS, MANIFEST_NAME, Manifest, read_manifest
from spillway.contracts.trt_engines import RECORD_NAME, REPOSITORY_NAME, EngineParity, read_record
from tests.model_packaging.packages import L4, add_engine
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


def test_a_language_model_is_judged_by_its_text(tmp_path: Path) -> None:
    good = small_package(tmp_path / "good", "vllm")
    never = small_package(tmp_path / "never", "vllm")
    rewritten(never, language_figures=())
    check_case("package-parity", case(good, never))
    failed = small_package(tmp_path / "failed", "vllm")
    figure = read_manifest(failed).language_figures[0].model_copy(update={"passed": False})
    rewritten(failed, language_figures=(figure.model_dump(),))
    check_case("package-parity", case(good, failed))
    rewritten(never, served={"vllm": AS_IS})
    check_case("package-parity", case(never, failed))


def served(package: Path) -> Context:
    """Of a stack whose file names the engine."""
    return Context(package=package, engines=(f"{L4.folder}/fp16",))


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
    context = served(package)
    # Built ahead of time: nobody has run it.
    assert found("package-parity", [], context=context).violations
    with_parity(engine, 0.98)
    assert found("package-parity", [], context=context).violations
    with_parity(engine, 0.995)
    assert found("package-parity", [], context=context).violations == ()
    assert found("package-parity", [], {"min_cosine": 0.999}, context).violations
    with_parity(engine, 0.98)
    unnamed = Context(package=package)
    assert found("package-parity", [], context=unnamed).violations == (), "one that is not deployed is not judged"


def test_an_engine_that_is_deployed_is_whole(package: Path) -> None:
    engine = add_engine(package, L4, b"plan", b"archive")
    context = served(package)
    assert found("package-sound", [], context=context).violations == ()
    (engine / REPOSITORY_NAME).write_bytes(b"another archive")
    assert found("package-sound", [], context=context).violations
    add_engine(package, L4, b"plan", b"archive")
    assert found("package-sound", [], context=context).violations == ()
    (engine / RECORD_NAME).write_text("{}")
    assert found("package-sound", [], context=context).violations


def test_an_engine_that_is_deployed_was_compiled_from_the_package(package: Path) -> None:
    engine = add_engine(package, L4, b"plan", b"archive")
    record = read_record(engine).model_copy(update={"package_digest": "1" * 64})
    (engine / RECORD_NAME).write_text(record.to_json())
    assert found("package-sound", [], context=served(package)).violations


def test_an_engine_that_is_deployed_is_signed(package: Path, tmp_path: Path) -> None:
    signing = pytest.importorskip("model_packaging.registry.signing")
    private = tmp_path / "key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = served(package)
    signing.sign(package, private, None)
    engine = add_engine(package, L4, b"plan", b"archive")
    assert found("package-signed", [], context=context).violations, "it came after the signature"
    fingerprint = signing.sign(package, private, None)
    assert found("package-signed", [], context=context).violations == ()
    assert found("package-signed", [], {"key_sha256": [fingerprint]}, context).violations == ()
    with_parity(engine, 0.5)
    assert found("package-signed", [], context=context).violations, "its record was changed after the signature"


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
