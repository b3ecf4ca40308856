"""Spillway as a wheel, in a user's own folder: nothing of the repository is there but what was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from stacks.beginning import templates
from tests.support.packages import small_package
from tests.support.paths import ROOT

PARTS = ("spillway", "components", "stacks", "model_packaging", "policies")
SECRET = json.dumps(
    {
        "clientId": "00000000-0000-4000-8000-000000000009",
        "clientSecret": "s",
        "tenantId": "00000000-0000-4000-8000-000000000002",
    }
)
"""Looks like a principal of Azure, which one of them has to be."""
pytestmark = pytest.mark.heavy


def listed() -> list[str]:
    """What belongs into a wheel: what git has of the packages, what is new included."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PARTS]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.splitlines() if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders beside its source."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in (*listed(), "pyproject.toml", "README.md", "LICENSE"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    uv = [str(Path(sys.executable).with_name("uv")), "build", "--wheel", "--no-build-isolation", "--offline"]
    subprocess.run([*uv, "--python", sys.executable, "-o", out, source], check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)


def run(installed: Path, cwd: Path, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = python(installed, cwd, "-m", "spillway", *command)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_wheel_holds_what_the_packages_hold(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert set(listed()) - set(archive.namelist()) == set()


def test_what_reads_data_finds_it(installed: Path, tmp_path: Path) -> None:
    done = python(installed, tmp_path, "-c", "import spillway; print(spillway.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(installed)
    assert json.loads(run(installed, tmp_path, "prices", "list", "--json").stdout)


@pytest.mark.parametrize("command", [["status"], ["check"], ["package"]])
def test_where_there_is_no_project_it_says_how_to_begin_one(
    installed: Path, tmp_path: Path, command: list[str]
) -> None:
    said = run(installed, tmp_path, *command, code=2).stderr
    assert f"neither {tmp_path} nor a folder above it has a Pulumi.yaml" in said
    assert "`spillway init NAME`" in said


@pytest.mark.parametrize("template", templates())
def test_a_project_is_begun_and_judged(installed: Path, tmp_path: Path, template: str) -> None:
    """With what `init` made up, and one's own package: no mandatory policy refuses it."""
    package = small_package(tmp_path / "mine" / "models" / "echo")
    begun = ["init", "first", "--template", template, "--package", str(package.relative_to(tmp_path / "mine"))]
    told = json.loads(run(installed, tmp_path / "mine", *begun, "--owner", "search", "--json").stdout)
    assert {"owner", "package"} & set(told["made_up"]) == set()
    written = [Path(path).relative_to(tmp_path / "mine") for path in told["written"]]
    assert Path("Pulumi.yaml") in written
    file = tmp_path / "mine" / "stacks" / "Pulumi.first.yaml"
    config = yaml.safe_load(file.read_text())["config"]
    assert config["spillway:owner"] == "search"
    if config["spillway:private_cluster"]["kind"] != "existing":
        # The twin makes the secrets of a cluster that is there; these a user sets.
        secrets = "".join(f"  spillway-secrets:{name}: '{SECRET}'\n" for name in told["secrets"])
        file.write_text(file.read_text() + secrets)
    verdict = json.loads(run(installed, tmp_path / "mine", "check", "-s", "first", "--json").stdout)
    assert verdict["stack"] == "first"


def test_a_second_stack_goes_beside_the_first_and_nothing_is_overwritten(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "init", "first")
    run(installed, tmp_path / "stacks", "init", "second", "--template", "both-clouds")
    assert sorted(path.name for path in (tmp_path / "stacks").iterdir()) == ["Pulumi.first.yaml", "Pulumi.second.yaml"]
    before = (tmp_path / "stacks" / "Pulumi.first.yaml").read_text()
    done = run(installed, tmp_path, "init", "first", "--template", "eks", code=2)
    assert "is there already" in done.stderr
    assert (tmp_path / "stacks" / "Pulumi.first.yaml").read_text() == before


def test_a_value_that_cannot_be_is_refused_before_anything_is_written(installed: Path, tmp_path: Path) -> None:
    assert "spillway:aws.account_id" in run(installed, tmp_path, "init", "first", "--aws-account", "12", code=2).stderr
    assert "'../first'" in run(installed, tmp_path, "init", "../first", code=2).stderr
    assert "begin with spillway-Prod_EU" in run(installed, tmp_path, "init", "Prod_EU", code=2).stderr
    assert list(tmp_path.iterdir()) == []
