"""``spillway package push``, ``pull``, ``list``, …: a package on its way through a registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spillway.cli.main import cli
from tests.model_packaging.keys import write_key
from tests.model_packaging.packages import L4, add_engine, make_version, version_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: spillway\nruntime: python\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPILLWAY_REGISTRY", raising=False)
    return tmp_path


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, ["package", *arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def fail(*arguments: str) -> str:
    """The message of a command that fails, on stderr, with nothing on stdout."""
    done = CliRunner().invoke(cli, ["package", *arguments, "--json"])
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_release_and_its_roll_back(project: Path) -> None:
    first, second = make_version(project / "a", "one"), make_version(project / "b", "two")
    v1, v2 = version_of(first), version_of(second)
    assert run("push", str(first), "--stage", "production")["new"] is True
    assert run("push", str(second))["sent_files"] == 1
    run("promote", f"echo@{v2[:6]}", "canary")
    assert run("promote", "echo@canary", "production", "--if-now", v1, "--note", "canary was fine")["version"] == v2
    assert run("pull", "echo")["version"] == v2
    assert (project / ".spillway/packages/echo/current").resolve().name == v2
    assert run("rollback", "echo") == {"name": "echo", "stage": "production", "version": v1, "was": v2}
    assert run("pull", "echo", "--keep-current")["version"] == v1
    assert (project / ".spillway/packages/echo/current").resolve().name == v2
    assert {row["version"]: row["stages"] for row in run("list")} == {v1: ["production"], v2: ["canary"]}
    history = run("list", "echo", "--history")
    assert [(row["stage"], row["action"], row["note"]) for row in history if row["stage"] == "production"] == [
        ("production", "promote", ""),
        ("production", "promote", "canary was fine"),
        ("production", "rollback", ""),
    ]
    assert "cannot be rolled back" in fail("rollback", "echo")
    assert f"production is {v1}, not {v2}" in fail("promote", f"echo@{v2}", "production", "--if-now", v2)


def test_a_signed_package_with_an_engine(project: Path) -> None:
    package = make_version(project / "made", "one")
    add_engine(package, L4, b"a plan")
    write_key(project, "release")
    assert "is not signed" in fail("verify", str(package), "--key", "release.pub")
    key = run("sign", str(package), "--key", "release.pem")["key_sha256"]
    told = run("verify", str(package), "--key", "release.pub")
    assert (told["key_sha256"], told["signature_checked"]) == (key, True)
    run("push", str(package), "--stage", "production")
    pulled = run("pull", "echo", "--key", "release.pub", "--engines-for", L4.folder)
    assert (pulled["signed"], pulled["engines"]) == (True, [f"{L4.folder}/fp16"])
    Path(pulled["path"], "triton/echo/1/note.txt").write_text("two")
    assert "note.txt was changed" in fail("verify", pulled["path"])


def test_to_oci_and_back(project: Path) -> None:
    package = make_version(project / "made", "one")
    assert run("export-oci", str(package), "layout")["digest"].startswith("sha256:")
    assert run("import-oci", "layout")["version"] == version_of(package)
    assert "nothing is overwritten" in fail("export-oci", str(package), "layout")


def test_people_see_a_table(project: Path) -> None:
    package = make_version(project / "made", "one")
    runner = CliRunner()
    assert "no such package" in runner.invoke(cli, ["package", "list"]).stdout
    runner.invoke(cli, ["package", "push", str(package), "--stage", "candidate"])
    shown = runner.invoke(cli, ["package", "list"], env={"COLUMNS": "120"}).stdout
    assert version_of(package) in shown
    assert "candidate" in shown
    narrow = runner.invoke(cli, ["package", "list"], env={"COLUMNS": "80"}).stdout
    assert version_of(package) in narrow, "it is copied into the next command"


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["push", "missing"], 2, "missing"),
        (["push", "empty"], 1, "no such file"),
        (["pull", "echo"], 1, "no version of echo is production"),
        (["pull", "echo@abcd"], 1, "there: none"),
        (["pull", "Echo"], 1, "package name"),
        (["pull", "echo", "--registry", "ftp://host/path"], 2, "ftp://"),
        (["promote", "echo", "production"], 2, "echo@VERSION"),
        (["promote", "echo@abcd", "prod"], 2, "candidate"),
        (["rollback", "echo"], 1, "nothing has it"),
        (["list", "--history"], 2, "NAME"),
        (["import-oci", "empty"], 1, "Is this an OCI image layout"),
    ],
)
def test_what_cannot_be_done_is_said(project: Path, arguments: list[str], code: int, named: str) -> None:
    (project / "empty").mkdir()
    done = CliRunner().invoke(cli, ["package", *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr
