"""What goes wrong around a store: killed, full, shared, tampered with. A clear error, nothing half there.

Each test is one bad input of the list that packaging must stand.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_packaging.registry import builds
from model_packaging.registry.registry import Registry
from spillway.contracts.manifest import MANIFEST_NAME, PackageError, read_manifest, verify_package
from tests.model_packaging.intact import registry_problems, store_problems
from tests.model_packaging.packages import L4, add_engine, make_version, reseal, version_of
from tests.support.paths import ROOT

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make_version(tmp_path / "made", "one", padding=100_000)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def in_child(act: Callable[[], object]) -> int:
    """Run ``act`` in a process of its own; its exit code: 0, 3 for a PackageError, 4 for any other, -9 when killed."""

    def run() -> None:
        code = 0
        try:
            act()
        except PackageError as error:
            print(error, file=sys.stderr)
            code = 3
        except BaseException:
            traceback.print_exc()
            code = 4
        os._exit(code)

    process = FORK.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def killed_at_step(step: int, act: Callable[[], object]) -> Callable[[], object]:
    """``act``, killed by SIGKILL right before its step ``step`` on the file system."""
    steps = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        if event == "open" or event.startswith(("os.", "shutil.")):
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    def run() -> object:
        sys.addaudithook(hook)
        return act()

    return run


def killed_everywhere(act: Callable[[], object], check: Callable[[], None], stride: int) -> int:
    """Kill ``act`` before each ``stride``-th step until it gets through; ``check`` what is left each time."""
    for kills, step in enumerate(range(1, 100_000, stride)):
        code = in_child(killed_at_step(step, act))
        assert code in (0, -signal.SIGKILL)
        check()
        if code == 0:
            return kills
    raise AssertionError("it never got through")


@pytest.mark.heavy
def test_killed_at_any_step_of_a_push(package: Path, url: str, tmp_path: Path) -> None:
    other = make_version(tmp_path / "other", "two")
    Registry.open(url).push(other)

    def intact() -> None:
        assert registry_problems(Path(url)) == []
        assert version_of(other) in Registry.open(url).versions("echo")

    # A killed push keeps its blobs, so the next one has fewer steps: from the start each time.
    def push() -> None:
        Registry.open(url).push(package)

    assert killed_everywhere(push, intact, stride=7) > 5
    assert Registry.open(url).versions("echo") == sorted([version_of(other), version_of(package)])
    Registry.open(url).push(package)
    assert not list(Path(url).glob(".incoming/*"))


@pytest.mark.heavy
def test_killed_at_any_step_of_a_pull(package: Path, url: str, tmp_path: Path) -> None:
    Registry.open(url).push(package)
    out = tmp_path / "here"
    version = version_of(package)

    def intact() -> None:
        assert store_problems(out) == []

    assert killed_everywhere(lambda: Registry.open(url).pull("echo", version, out), intact, stride=7) > 5
    assert verify_package(out / "echo" / version) == read_manifest(package)
    assert [path.name for path in (out / "echo").iterdir() if path.name.startswith(".pulling")] == []


@pytest.mark.heavy
def test_killed_at_any_step_of_a_commit(package: Path, tmp_path: Path) -> None:
    """The last part of a build: from a finished folder to a version."""
    store = tmp_path / "store"

    def commit() -> None:
        with builds.build_lock(store, "echo", print), builds.workspace(store, "echo") as work:
            shutil.copytree(package, work / "package")
            builds.commit(store, work / "package", read_manifest(package))

    def intact() -> None:
        assert store_problems(store) == []

    assert killed_everywhere(commit, intact, stride=5) > 5
    with builds.build_lock(store, "echo", print):
        assert [path.name for path in (store / "echo").iterdir() if path.name.startswith(".building")] == []


@pytest.mark.heavy
def test_killed_at_any_step_of_a_promotion(package: Path, url: str, tmp_path: Path) -> None:
    registry = Registry.open(url)
    other = make_version(tmp_path / "other", "two")
    for each in (other, package):
        registry.push(each)
    registry.promote("echo", version_of(other), "production")

    def intact() -> None:
        assert registry.resolve("echo", "production") in (version_of(other), version_of(package))

    assert killed_everywhere(lambda: registry.promote("echo", version_of(package), "production"), intact, stride=1) > 2
    assert registry.resolve("echo", "production") == version_of(package)
    assert len(registry.stages("echo").history("production")) == 2


def test_many_pushes_at_once(tmp_path: Path, url: str) -> None:
    """Four processes, two of them with the same package, and this one, which pushes over and over."""
    packages = [make_version(tmp_path / f"made-{text}", text, padding=200_000) for text in ("one", "two", "three")]
    todo = [packages[0], packages[0], packages[1], packages[2]]
    processes = [FORK.Process(target=lambda path=path: Registry.open(url).push(path)) for path in todo]
    for process in processes:
        process.start()
    for _ in range(5):
        Registry.open(url).push(packages[2])
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert registry_problems(Path(url)) == []
    assert Registry.open(url).versions("echo") == sorted(version_of(package) for package in packages)


def test_many_promotions_at_once(tmp_path: Path, url: str) -> None:
    """Each either counts or is refused; the history has every one that counted, once."""
    packages = [make_version(tmp_path / f"made-{index}", str(index)) for index in range(4)]
    for package in packages:
        Registry.open(url).push(package)

    codes = FORK.Queue()

    def promote(version: str) -> None:
        codes.put(in_child(lambda: Registry.open(url).promote("echo", version, "canary")))

    processes = [FORK.Process(target=promote, args=(version_of(package),)) for package in packages]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    ended = [codes.get(timeout=5) for _ in packages]
    history = Registry.open(url).stages("echo").history("canary")
    assert set(ended) <= {0, 3}
    assert len(history) == ended.count(0) >= 1
    assert [record.number for record in history] == list(range(1, len(history) + 1))


def unshared() -> list[str]:
    """The start of a command that may mount, or a skip where the machine lets nobody but root, and we are not."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace may be made here; test_a_limit_on_file_size covers a write that is refused")
    return command


@pytest.mark.heavy
def test_a_full_disk(tmp_path: Path) -> None:
    """A real file system of 4 KiB to 4 MiB, for a push, a pull, the end of a build and an import."""
    command = [*unshared(), sys.executable, "-m", "tests.model_packaging.full_disk", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(row["what"], row["left"] == []) for row in told} == {
        (what, True) for what in ("push", "pull", "commit", "import")
    }
    for row in told:
        if row["size_kib"] >= 4096:
            assert row["error"] == ""
        elif row["size_kib"] <= 256:
            assert "the disk is full" in row["error"], row
            assert MANIFEST_NAME not in row["files"]


def test_a_limit_on_file_size(package: Path, url: str, tmp_path: Path) -> None:
    """What a quota does, for those who may not mount."""
    Registry.open(url).push(make_version(tmp_path / "other", "two"))

    def push() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with contextlib.suppress(BaseException):
            Registry.open(url).push(package)
            os._exit(0)
        try:
            Registry.open(url).push(package)
        except PackageError as error:
            os._exit(3 if "the disk is full" in str(error) else 5)

    assert in_child(push) == 3
    assert registry_problems(Path(url)) == []
    assert version_of(package) not in Registry.open(url).versions("echo")
    assert not list(Path(url).glob(".incoming/*"))
    Registry.open(url).push(package)
    assert registry_problems(Path(url)) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's own may not be entered by them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(act: Callable[[], object], named: str) -> Callable[[], object]:
    """``act`` without root's rights to read everything; it must fail with a PackageError that says ``named``."""

    def run() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            act()
        except PackageError as error:
            os._exit(3 if named in str(error) else 5)

    return run


@pytest.mark.parametrize("closed", ["packages/echo/versions", "blobs/sha256"])
def test_a_registry_that_may_not_be_written(open_folder: Path, closed: str) -> None:
    package = make_version(open_folder / "made", "one")
    registry = open_folder / "registry"
    Registry.open(str(registry)).push(make_version(open_folder / "other", "two"))
    for path in (registry, *registry.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (registry / closed).chmod(0o555)
    assert in_child(as_nobody(lambda: Registry.open(str(registry)).push(package), "access is denied")) == 3
    assert registry_problems(registry) == []


def test_a_package_that_may_not_be_read(open_folder: Path) -> None:
    package = make_version(open_folder / "made", "one")
    (package / "triton/echo/1/note.txt").chmod(0)
    assert in_child(as_nobody(lambda: verify_package(package), "note.txt cannot be read: Permission denied")) == 3
    (package / MANIFEST_NAME).chmod(0)
    assert in_child(as_nobody(lambda: verify_package(package), "manifest.json: cannot be read")) == 3


def test_a_folder_that_a_pull_may_not_write(open_folder: Path) -> None:
    package = make_version(open_folder / "made", "one")
    registry = Registry.open(str(open_folder / "registry"))
    registry.push(package)
    (open_folder / "out").mkdir(mode=0o555)
    act = as_nobody(lambda: registry.pull("echo", version_of(package), open_folder / "out"), "cannot be written")
    assert in_child(act) == 3


def test_a_store_that_is_a_file(package: Path, tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("not a folder")
    with pytest.raises(PackageError, match="is a file"):
        Registry.open(str(tmp_path / "registry")).push(package)
    assert (tmp_path / "registry").read_text() == "not a folder"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda made: (made / "triton/echo/1/note.txt").write_text("tampered"), "note.txt was changed"),
        (lambda made: (made / "triton/echo/1/note.txt").unlink(), "note.txt is missing"),
        (lambda made: (made / "triton/extra").write_text("x"), "extra is not in the manifest"),
        (lambda made: (made / "triton/link").symlink_to("/etc/hosts"), "link is a symbolic link"),
        (lambda made: truncate(made / MANIFEST_NAME), "cut short"),
        (lambda made: (made / MANIFEST_NAME).write_bytes(b"\xff\xfe{}"), "cannot be read"),
        (lambda made: (made / MANIFEST_NAME).write_text(""), "cut short"),
        (lambda made: (made / MANIFEST_NAME).unlink(), "no such file"),
        (lambda made: (add_engine(made, L4, b"a plan") / "model.plan").write_text("b"), "model.plan: is not the file"),
        (lambda made: (add_engine(made, L4, b"a plan") / "engine.json").unlink(), "the engine is incomplete"),
    ],
)
def test_a_package_that_is_not_sound_is_not_pushed(
    package: Path, url: str, damage: Callable[[Path], object], named: str
) -> None:
    damage(package)
    with pytest.raises(PackageError, match=named):
        Registry.open(url).push(package)
    assert registry_problems(Path(url)) == []
    assert not list(Path(url).rglob("engine*"))


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def blob(url: str, package: Path) -> Path:
    file = next(file for file in read_manifest(package).files if file.path.endswith("note.txt"))
    return Path(url, "blobs", "sha256", file.sha256)


def stored(url: str, package: Path) -> Path:
    return Path(url, "packages", "echo", "versions", version_of(package), MANIFEST_NAME)


def outside(path: Path) -> None:
    """A link in place of a blob: what it leads to may be read, but never be taken for the blob."""
    path.unlink()
    path.symlink_to("/etc/hosts")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda url, made: blob(url, made).write_text("tam"), "is damaged"),
        (lambda url, made: truncate(blob(url, made)), "is damaged"),
        (lambda url, made: blob(url, made).unlink(), "is missing"),
        (lambda url, made: outside(blob(url, made)), "is damaged"),
        (lambda url, made: truncate(stored(url, made)), "cut short"),
        (lambda url, made: stored(url, made).write_bytes(b"\xff"), "repair"),
        (lambda url, made: stored(url, made).write_text("{}"), "cut short"),
    ],
)
def test_a_registry_that_was_tampered_with_gives_nothing_and_can_be_repaired(
    package: Path, url: str, tmp_path: Path, damage: Callable[[str, Path], object], named: str
) -> None:
    registry = Registry.open(url)
    registry.push(package)
    version = version_of(package)
    damage(url, package)
    with pytest.raises(PackageError, match=named):
        registry.pull("echo", version, tmp_path / "here")
    assert store_problems(tmp_path / "here") == []
    assert not (tmp_path / "here" / "echo" / version).exists()
    registry.push(package, repair=True)
    assert registry_problems(Path(url)) == []
    assert verify_package(registry.pull("echo", version, tmp_path / "here").path) == read_manifest(package)


def test_the_manifest_of_another_version(package: Path, url: str, tmp_path: Path) -> None:
    other = make_version(tmp_path / "other", "two")
    registry = Registry.open(url)
    for each in (package, other):
        registry.push(each)
    shutil.copy(stored(url, other), stored(url, package))
    with pytest.raises(PackageError, match=f"is of echo {version_of(other)}"):
        registry.pull("echo", version_of(package), tmp_path / "here")


def test_a_damaged_stage_record(package: Path, url: str) -> None:
    registry = Registry.open(url)
    registry.push(package)
    registry.promote("echo", version_of(package), "production")
    truncate(Path(url, "packages/echo/stages/production/00000001.json"))
    with pytest.raises(PackageError, match=r"00000001\.json is damaged"):
        registry.resolve("echo", "production")


def test_clocks_that_are_wrong(package: Path, url: str, tmp_path: Path) -> None:
    """Files from the future and from 1970, and a promotion that was made on a machine whose clock is years ahead."""
    registry = Registry.open(url)
    other = make_version(tmp_path / "other", "two")
    for path, when in ((package, 4_000_000_000), (other, 0)):
        for file in path.rglob("*"):
            os.utime(file, (when, when))
        registry.push(path)
    registry.promote("echo", version_of(other), "production")
    record = Path(url, "packages/echo/stages/production/00000001.json")
    ahead = {**json.loads(record.read_text()), "at": "2099-01-01T00:00:00Z"}
    record.write_text(json.dumps(ahead))
    registry.promote("echo", version_of(package), "production")
    assert registry.resolve("echo", "production") == version_of(package)
    assert registry.stages("echo").rollback("production") == (version_of(package), version_of(other))
    for version in (version_of(package), version_of(other)):
        verify_package(registry.pull("echo", version, tmp_path / "here").path)


def test_an_equal_version_with_other_figures_stays(package: Path, url: str) -> None:
    registry = Registry.open(url)
    registry.push(package)
    first = stored(url, package).read_bytes()
    later = read_manifest(package).provenance.model_copy(update={"built_at": "2026-01-01T00:00:00Z"})
    reseal(package, provenance=later)
    assert not registry.push(package).new
    assert stored(url, package).read_bytes() == first


@pytest.mark.heavy
@pytest.mark.soak
def test_real_builds_killed_at_random_and_two_at_once(tmp_path: Path) -> None:
    seed = random.randrange(1 << 16)
    command = [sys.executable, "-m", "tests.model_packaging.build_and_die", str(tmp_path), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=400)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] >= 1, told
    assert told["problems"] == [], told
    assert told["exit_codes"] == [0, 0, 0], told
    # What the killed ones left is gone, and both builds have come to the one version that a build elsewhere came to.
    assert told["left"] == [".lock", told["digests"][0][:16]], told
    assert len(told["digests"]) == 2, told
    assert len(set(told["digests"])) == 1, told
