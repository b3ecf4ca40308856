"""A registry gives back what was pushed, whole and checked, on each kind of store."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_packaging.registry.objects import RegistryConfigError, RegistryError, open_objects
from model_packaging.registry.registry import Registry
from spillway.contracts.manifest import (
    MANIFEST_NAME,
    PackageError,
    read_manifest,
    sha256_of_file,
    verify_package,
)
from spillway.contracts.trt_engines import verify_engines
from tests.model_packaging import stores
from tests.model_packaging.packages import L4, L40S, add_engine, make_version, reseal, version_of
from tests.support.packages import small_package
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def s3_server() -> Iterator[dict[str, str]]:
    with stores.s3_server() as environment:
        yield environment


@pytest.fixture(scope="module")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with stores.azure_server(tmp_path_factory.mktemp("azurite")) as environment:
        yield environment


@pytest.fixture(
    params=["folder", pytest.param("s3", marks=pytest.mark.heavy), pytest.param("azure", marks=pytest.mark.heavy)]
)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "registry")
    for name, value in request.getfixturevalue(f"{request.param}_server").items():
        monkeypatch.setenv(name, value)
    return stores.new_bucket() if request.param == "s3" else stores.new_container()


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry.open(url)


def test_what_is_pulled_is_what_was_pushed(registry: Registry, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    pushed = registry.push(package)
    assert pushed.new
    pulled = registry.pull("echo", version_of(package), tmp_path / "here")
    assert verify_package(pulled.path) == read_manifest(package)
    assert pulled.path == tmp_path / "here" / "echo" / version_of(package)
    assert not pulled.signed
    assert registry.versions("echo") == [version_of(package)]
    assert registry.names() == ["echo"]


def test_versions_stand_side_by_side_and_share_files(registry: Registry, tmp_path: Path) -> None:
    first, second = make_version(tmp_path / "a", "one"), make_version(tmp_path / "b", "two")
    registry.push(first)
    pushed = registry.push(second)
    assert pushed.sent_files == 1
    assert sorted([version_of(first), version_of(second)]) == registry.versions("echo")
    for package in (first, second):
        pulled = registry.pull("echo", version_of(package)[:8], tmp_path / "here")
        assert verify_package(pulled.path) == read_manifest(package)


def test_a_second_push_sends_nothing(registry: Registry, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    again = registry.push(package)
    assert (again.new, again.sent_files, again.sent_bytes) == (False, 0, 0)


def test_stages_are_aliases_with_a_history(registry: Registry, tmp_path: Path) -> None:
    packages = [make_version(tmp_path / name, name) for name in ("a", "b", "c")]
    a, b, c = (version_of(package) for package in packages)
    for package in packages:
        registry.push(package)
    with pytest.raises(RegistryError, match="no version of echo is production"):
        registry.resolve("echo", "production")
    for version in (a, b, c):
        registry.promote("echo", version, "production", note="try")
    registry.promote("echo", "production", "canary")
    stages = registry.stages("echo")
    assert registry.resolve("echo", "production") == registry.resolve("echo", "canary") == c
    assert stages.rollback("production") == (c, b)
    assert stages.rollback("production") == (b, a)
    with pytest.raises(RegistryError, match="cannot be rolled back"):
        stages.rollback("production")
    assert [(record.action, record.version) for record in stages.history("production")] == [
        ("promote", a),
        ("promote", b),
        ("promote", c),
        ("rollback", b),
        ("rollback", a),
    ]
    pulled = registry.pull("echo", "production", tmp_path / "here")
    assert pulled.manifest.version == a
    described = {stored.manifest.version: stored.stages for stored in registry.describe("echo")}
    assert described == {a: ("production",), b: (), c: ("canary",)}


def test_a_promotion_from_an_old_view_fails(registry: Registry, tmp_path: Path) -> None:
    packages = [make_version(tmp_path / name, name) for name in ("a", "b", "c")]
    a, b, c = (version_of(package) for package in packages)
    for package in packages:
        registry.push(package)
    registry.promote("echo", a, "production")
    registry.promote("echo", b, "production", expected=a)
    with pytest.raises(RegistryError, match=f"production is {b}, not {a}"):
        registry.promote("echo", c, "production", expected=a)
    assert registry.resolve("echo", "production") == b


def test_of_two_promotions_at_once_one_is_told_so(url: str, tmp_path: Path) -> None:
    """The second one reads the history before the first one writes, and writes after it."""
    objects, other = open_objects(url), Registry.open(url)
    create = objects.create
    packages = [make_version(tmp_path / name, name) for name in ("a", "b")]
    for package in packages:
        other.push(package)
    a, b = (version_of(package) for package in packages)

    def late(key: str, data: bytes) -> None:
        other.promote("echo", a, "production")
        create(key, data)

    objects.create = late
    with pytest.raises(RegistryError, match=f"at the same time, to {a}"):
        Registry(objects).promote("echo", b, "production")
    assert other.resolve("echo", "production") == a


def test_engines_travel_by_hardware_key(registry: Registry, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    digest = read_manifest(package).digest
    add_engine(package, L4, b"plan for an L4", b"repository for an L4")
    add_engine(package, L40S, b"plan for an L40S")
    assert set(registry.push(package).engines) == {f"{L4.folder}/fp16", f"{L40S.folder}/fp16"}
    told: list[str] = []
    pulled = registry.pull("echo", version_of(package), tmp_path / "one", engines_for=[L4.folder])
    assert pulled.engines == (f"{L4.folder}/fp16",)
    assert [record.key for record in verify_engines(pulled.path)] == [L4]
    assert verify_package(pulled.path).digest == digest
    assert len(registry.pull("echo", version_of(package), tmp_path / "one", engines_for=["all"]).engines) == 2
    registry.pull("echo", version_of(package), tmp_path / "two", told.append, engines_for=["tensorrt-9"])
    assert any("no engine for tensorrt-9" in line for line in told)
    # An engine that is there stays: the one that was tried is the one that is served.
    add_engine(package, L4, b"another plan for an L4")
    assert registry.push(package).engines == ()
    assert (pulled.path / "engines" / L4.folder / "fp16" / "model.plan").read_bytes() == b"plan for an L4"


def test_a_damaged_blob_is_refused_and_a_repair_mends_it(registry: Registry, url: str, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    file = read_manifest(package).files[0]
    open_objects(url).replace(f"blobs/sha256/{file.sha256}", b"x" * file.size_bytes)
    with pytest.raises(RegistryError, match="is damaged"):
        registry.pull("echo", version_of(package), tmp_path / "here")
    assert not (tmp_path / "here" / "echo" / version_of(package)).exists()
    assert registry.push(package, repair=True).sent_files == 1
    verify_package(registry.pull("echo", version_of(package), tmp_path / "here").path)


def test_a_file_that_changes_while_it_is_pushed_is_not_published(registry: Registry, url: str, tmp_path: Path) -> None:
    package = make_version(tmp_path / "made", "one")
    note = package / "triton/echo/1/note.txt"

    def meddle(message: str) -> None:
        note.write_text("two")

    with pytest.raises(RegistryError, match="changed while it was pushed"):
        registry.push(package, meddle)
    assert registry.versions("echo") == []
    note.write_text("one")
    registry.push(package)
    verify_package(registry.pull("echo", version_of(package), tmp_path / "here").path)


@pytest.mark.heavy
def test_a_push_that_is_killed_publishes_a_whole_version_or_none_and_the_next_goes_on(url: str, tmp_path: Path) -> None:
    chosen = random.Random(5)
    killed = 0
    # How long a push takes is the machine's affair: a kill that comes too late is tried again sooner, on a new version.
    for attempt in range(8):
        package = make_version(tmp_path / f"made-{attempt}", f"version {attempt}", padding=30_000_000)
        command = [sys.executable, "-m", "spillway.cli.main", "package", "push", str(package), "--registry", url]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            # Its first word about files: the connection is made, and blobs are on their way.
            next(line for line in process.stderr if "MB; looking" in line)
            time.sleep(chosen.uniform(0, 0.1) / 2**attempt)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        for version in Registry.open(url).versions("echo"):
            verify_package(Registry.open(url).pull("echo", version, tmp_path / f"after-{attempt}").path)
        if killed == 2:
            break
    assert killed >= 1
    Registry.open(url).push(package)
    verify_package(Registry.open(url).pull("echo", version_of(package), tmp_path / "here").path)


def test_an_interrupted_pull_goes_on(registry: Registry, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    manifest = read_manifest(package)
    partial = tmp_path / "here" / "echo" / f".pulling-{manifest.version}"
    whole, half, wrong = manifest.files[0], manifest.files[1], manifest.files[2]
    for file, content in (
        (whole, (package / whole.path).read_bytes()),
        (half, (package / half.path).read_bytes()[:10]),
        (wrong, b"something else"),
    ):
        (partial / file.path).parent.mkdir(parents=True, exist_ok=True)
        (partial / file.path).write_bytes(content)
    (partial / "left-over").write_text("of another time")
    inode = (partial / whole.path).stat().st_ino
    pulled = registry.pull("echo", manifest.version, tmp_path / "here")
    verify_package(pulled.path)
    assert (pulled.path / whole.path).stat().st_ino == inode
    assert not partial.exists()


def test_a_local_build_of_the_same_content_gets_the_registrys_figures(registry: Registry, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    version = version_of(package)
    local = tmp_path / "here" / "echo" / version
    shutil.copytree(package, local)
    provenance = read_manifest(local).provenance.model_copy(update={"built_at": "2026-01-01T00:00:00Z"})
    reseal(local, provenance=provenance)
    assert read_manifest(local) != read_manifest(package)
    assert registry.pull("echo", version, tmp_path / "here").path == local
    assert read_manifest(local) == read_manifest(package)


def test_a_manifest_that_leads_out_of_the_package_is_refused(registry: Registry, url: str, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    version = version_of(package)
    text = (package / MANIFEST_NAME).read_text().replace("azureml/deployment.yaml", "../../../outside")
    open_objects(url).replace(f"packages/echo/versions/{version}/manifest.json", text.encode())
    with pytest.raises(PackageError, match="no plain relative path"):
        registry.pull("echo", version, tmp_path / "here")


def test_what_is_not_there_is_said(registry: Registry, tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry.push(package)
    with pytest.raises(RegistryError, match=version_of(package)):
        registry.pull("echo", "0" * 16, tmp_path / "here")
    with pytest.raises(RegistryError, match="there: none"):
        registry.pull("other", "abcd1234", tmp_path / "here")
    with pytest.raises(RegistryError, match="stage 'staging' is unknown"):
        registry.promote("echo", version_of(package), "staging")
    with pytest.raises(RegistryError, match="package name"):
        registry.versions("../echo")


def test_an_address_that_nothing_serves_is_said() -> None:
    with pytest.raises(RegistryConfigError, match="ftp:// is unknown"):
        Registry.open("ftp://example/models")


@pytest.mark.heavy
def test_a_bucket_that_is_not_there_is_said(
    s3_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RegistryError, match="bucket"):
        Registry.open("s3://nowhere-at-all/models").push(small_package(tmp_path / "made"))


def test_a_server_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RegistryError, match="Check the address"):
        Registry.open("s3://nowhere-at-all/models").names()


def test_the_layout_is_the_one_that_is_described(tmp_path: Path) -> None:
    package = small_package(tmp_path / "made")
    registry = Registry.open(str(tmp_path / "registry"))
    registry.push(package)
    registry.promote("echo", version_of(package), "candidate")
    manifest = read_manifest(package)
    root = tmp_path / "registry"
    for file in manifest.files:
        assert sha256_of_file(root / "blobs" / "sha256" / file.sha256) == file.sha256
    stored = root / "packages" / "echo" / "versions" / manifest.version / MANIFEST_NAME
    assert stored.read_bytes() == (package / MANIFEST_NAME).read_bytes()
    record = json.loads((root / "packages" / "echo" / "stages" / "candidate" / "00000001.json").read_text())
    assert record["version"] == manifest.version
    assert not list((root / ".incoming").iterdir())
