"""A signature holds for the package it was made for and for the key that made it, and for nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from model_packaging.registry import signing
from model_packaging.registry.registry import Registry
from spillway.contracts.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    PackageError,
    read_manifest,
    sha256_of_file,
    verify_package,
)
from spillway.contracts.signature import read_signature, signed_package
from tests.model_packaging.keys import write_key
from tests.model_packaging.packages import L4, add_engine, make_version, reseal, version_of


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    made = make_version(tmp_path / "made", "one")
    # model-signing passes over git's files by default; here they count.
    (made / "triton" / ".gitattributes").write_text("*.onnx filter=lfs")
    return reseal(made)


def test_signing_changes_no_digest_and_the_key_can_be_told(package: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    before = read_manifest(package)
    assert signed_package(package) is None
    fingerprint = signing.sign(package, private)
    assert verify_package(package) == before
    assert signing.verify(package, public) == fingerprint == sha256_of_file(public)
    signature = signed_package(package)
    assert signature is not None
    assert signature.key_sha256 == fingerprint
    assert MANIFEST_NAME in signature.files
    assert "triton/.gitattributes" in signature.files
    kept = {path.name for path in package.parent.iterdir()}
    assert kept == {"made"}
    secret = private.read_text().splitlines()[1]
    assert secret not in (package / SIGNATURE_NAME).read_text()


def test_a_package_is_signed_anew(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other, other_public = write_key(tmp_path, "other")
    signing.sign(package, keys[0])
    signing.sign(package, other)
    signing.verify(package, other_public)
    with pytest.raises(PackageError, match="does not hold against"):
        signing.verify(package, keys[1])


def test_an_unsigned_package_is_refused(package: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(PackageError, match="is not signed"):
        signing.verify(package, keys[1])


def forge(package: Path) -> None:
    """The hint of the right key on a signature of another one."""
    path = package / SIGNATURE_NAME
    bundle = json.loads(path.read_text())
    other, _ = write_key(package.parent, "forger")
    signing.sign(package, other)
    forged = json.loads(path.read_text())
    forged["verificationMaterial"] = bundle["verificationMaterial"]
    path.write_text(json.dumps(forged))


def edit_payload(package: Path) -> None:
    """Another digest in the statement, and a file that fits it."""
    path = package / SIGNATURE_NAME
    bundle = json.loads(path.read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"].pop()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    "damage",
    [
        lambda package: (package / "triton/echo/1/note.txt").write_text("two"),
        lambda package: (package / "triton/extra.py").write_text("x"),
        lambda package: (package / "azureml/deployment.yaml").unlink(),
        lambda package: (package / "triton/.gitattributes").write_text("changed"),
        lambda package: ((package / "triton/echo/1/note.txt").write_text("two"), reseal(package)),
        lambda package: (package / SIGNATURE_NAME).write_text("{}"),
        lambda package: (package / SIGNATURE_NAME).write_text(""),
        lambda package: (package / SIGNATURE_NAME).write_bytes((package / SIGNATURE_NAME).read_bytes()[:-200]),
        lambda package: (package / "triton/link").symlink_to("/etc/hosts"),
        forge,
        edit_payload,
    ],
)
def test_what_was_changed_or_forged_is_refused(
    package: Path, keys: tuple[Path, Path], damage: Callable[[Path], object]
) -> None:
    signing.sign(package, keys[0])
    signing.verify(package, keys[1])
    damage(package)
    with pytest.raises(PackageError):
        signing.verify(package, keys[1])


def test_a_signature_of_another_package_is_noticed_without_cryptography(
    package: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other = make_version(tmp_path / "other", "two")
    signing.sign(other, keys[0])
    shutil.copy(other / SIGNATURE_NAME, package / SIGNATURE_NAME)
    with pytest.raises(PackageError, match="was made for another package"):
        signed_package(package)


def test_engines_have_a_signature_of_their_own(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    signing.sign(package, keys[0])
    engine = add_engine(package, L4, b"a plan")
    with pytest.raises(PackageError, match="is not signed"):
        signing.verify(package, keys[1])
    signing.sign(package, keys[0])
    signing.verify(package, keys[1])
    assert read_signature(engine) is not None
    registry = Registry.open(str(tmp_path / "registry"))
    registry.push(package)
    pulled = registry.pull("echo", version_of(package), tmp_path / "here", engines_for=[L4.folder])
    signing.verify(pulled.path, keys[1])


def test_a_signature_that_comes_later_travels_too(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    registry = Registry.open(str(tmp_path / "registry"))
    add_engine(package, L4, b"a plan")
    registry.push(package)
    first = registry.pull("echo", version_of(package), tmp_path / "here", engines_for=["all"])
    assert not first.signed
    signing.sign(package, keys[0])
    registry.push(package)
    again = registry.pull("echo", version_of(package), tmp_path / "here", engines_for=["all"], public_key=keys[1])
    assert again.signed
    signing.verify(again.path, keys[1])


def test_a_pull_that_asks_for_a_key_leaves_nothing_without_it(
    package: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    registry = Registry.open(str(tmp_path / "registry"))
    registry.push(package)
    with pytest.raises(PackageError, match="is not signed"):
        registry.pull("echo", version_of(package), tmp_path / "here", public_key=keys[1])
    signing.sign(package, write_key(tmp_path, "foreign")[0])
    registry.push(package)
    with pytest.raises(PackageError, match="does not hold against"):
        registry.pull("echo", version_of(package), tmp_path / "here", public_key=keys[1])
    assert [path.name for path in (tmp_path / "here" / "echo").iterdir()] == [".lock"]


def test_a_signature_of_another_build_is_not_pushed(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    registry = Registry.open(str(tmp_path / "registry"))
    registry.push(package)
    later = read_manifest(package).provenance.model_copy(update={"built_at": "2026-01-01T00:00:00Z"})
    reseal(package, provenance=later)
    signing.sign(package, keys[0])
    with pytest.raises(PackageError, match="another build"):
        registry.push(package)


def test_keys_that_do_not_fit_are_refused(package: Path, tmp_path: Path) -> None:
    private, _ = write_key(tmp_path, "locked", password=b"open sesame")
    with pytest.raises(PackageError, match="cannot be signed"):
        signing.sign(package, private)
    with pytest.raises(PackageError, match="cannot be signed") as wrong:
        signing.sign(package, private, b"not the password")
    assert "not the password" not in str(wrong.value)
    edwards = tmp_path / "edwards.pem"
    edwards.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(PackageError, match="P-256"):
        signing.sign(package, edwards)
    with pytest.raises(PackageError, match="cannot be signed"):
        signing.sign(package, tmp_path / "missing.pem")
    assert not (package / SIGNATURE_NAME).exists()
    signing.sign(package, private, b"open sesame")


@pytest.mark.heavy
def test_openssfs_own_command_agrees(package: Path, keys: tuple[Path, Path]) -> None:
    signing.sign(package, keys[0])
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(package), "--no-ignore-git-paths"]
    command += ["--signature", str(package / SIGNATURE_NAME), "--public_key", str(keys[1])]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    (package / "triton/echo/1/note.txt").write_text("two")
    assert subprocess.run(command, capture_output=True, text=True).returncode != 0
