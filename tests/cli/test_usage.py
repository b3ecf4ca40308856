"""What each command takes, what it answers when it is used wrongly, and what it imports."""

from __future__ import annotations

import errno
import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from botocore.exceptions import NoCredentialsError
from click.testing import CliRunner

from model_packaging.errors import ModelConfigError
from model_packaging.registry.builds import StoreConfigError
from model_packaging.registry.objects import RegistryConfigError
from spillway.cli.errors import translate
from spillway.cli.main import cli
from spillway.cli.reference import commands_below
from spillway.contracts.manifest import PackageError
from spillway.contracts.prices import PriceError
from spillway.drill.target import DrillError
from spillway.planner.errors import PlannerError, TraceError
from spillway.planner.search import Found, NoPlanError
from spillway.price_lists.common import PriceListError
from spillway.twin.deployer.api import ConfigError, DeployerError, InterruptedUpError
from spillway.twin.handle import TwinError
from spillway.twin.tools import ToolMissingError
from tests.support.paths import DOCS, ROOT

HEAVY = ("boto3", "botocore", "moto", "pulumi", "rich", "torch", "yaml", "pydantic")


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom spillway.cli.main import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_speaks_json() -> None:
    for name, command in commands_below(cli):
        # What a shell runs is a script.
        if not isinstance(command, click.Group) and name != "completion":
            assert {"as_json", "debug"} <= {parameter.name for parameter in command.params}, name


def commands_in(page: Path) -> list[str]:
    """The command lines of a page's code blocks, up to a pipe; continued lines are joined."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.split(" | ")[0] for line in lines if re.match(r"spillway [a-z]", line)]


PAGES = [page for page in (ROOT / "README.md", *DOCS.rglob("*.md")) if commands_in(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_the_documentation_exist(page: Path) -> None:
    for line in commands_in(page):
        words = shlex.split(line, comments=True)[1:]
        command, context = cli, click.Context(cli, info_name="spillway")
        while isinstance(command, click.Group):
            command = command.get_command(context, words[0]) or command.commands["build"]
            words = words[1:] if words[0] == command.name else words
            context = click.Context(command, parent=context, info_name=command.name)
        try:
            command.make_parser(context).parse_args(words)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.message}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["preview", "--deployer", "terraform"],
        ["preview", "-s", "../elsewhere"],
        ["up", "-s", "packages"],
        ["drill", "--plan", "missing.yaml"],
        ["status", "--web", "--json"],
        ["status", "--port", "8765"],
        ["up", "--jsno"],
        ["package", "psuh"],
        ["package", "missing.yaml"],
        ["package", "build", "missing.yaml"],
        ["package", "--out"],
    ],
)
def test_wrong_usage_is_exit_code_2(runner: CliRunner, project: Path, arguments: list[str]) -> None:
    done = runner.invoke(cli, arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stack_without_a_file_names_those_that_have_one(runner: CliRunner, project: Path) -> None:
    done = runner.invoke(cli, ["preview", "-s", "nowhere", "--json"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "dev, local, prod" in done.stderr


def test_a_plan_and_a_length_exclude_each_other(runner: CliRunner, project: Path) -> None:
    Path("plan.yaml").write_text("name: mine\nphases: [{name: load, duration_s: 5}]\n")
    done = runner.invoke(cli, ["drill", "--plan", "plan.yaml", "--full"])
    assert done.exit_code == 2
    assert "--plan" in done.stderr


def test_a_faulty_plan_names_its_keys(runner: CliRunner, project: Path) -> None:
    Path("plan.yaml").write_text("name: mine\nphases: [{name: load, duration_s: -5, faults: [{group: private}]}]\n")
    done = runner.invoke(cli, ["drill", "--plan", "plan.yaml"])
    assert done.exit_code == 2
    assert "phases[0].duration_s (line 2): given -5; allowed: greater than 0" in done.stderr
    assert "phases[0].faults[0].action (line 2): given nothing" in done.stderr


def test_without_a_twin_status_says_so_and_a_drill_cannot_run(runner: CliRunner, project: Path) -> None:
    status = runner.invoke(cli, ["status", "--json"])
    assert status.exit_code == 1
    assert json.loads(status.stdout)["running"] is False
    drill = runner.invoke(cli, ["drill", "--short"])
    assert drill.exit_code == 2
    assert "spillway up -s local" in drill.stderr


def test_a_port_that_is_taken_is_named(runner: CliRunner, project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = runner.invoke(cli, ["status", "--web", "--port", port, "--endpoint-url", "http://127.0.0.1:9"])
    assert done.exit_code == 2
    assert f"--port {port}: Address already in use; give another" in done.stderr


def test_down_without_a_twin_is_no_failure_and_purges(runner: CliRunner, project: Path) -> None:
    kept = project / ".spillway" / "local" / "secrets"
    kept.mkdir(parents=True)
    packages = project / ".spillway" / "packages"
    packages.unlink()
    (packages / "mine").mkdir(parents=True)
    done = runner.invoke(cli, ["down", "--purge", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "stack": "local",
        "stopped": False,
        "forced": [],
        "destroyed": None,
        "purged": True,
    }
    assert not kept.parent.exists()
    assert (packages / "mine").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DeployerError("x"), 1),
        (InterruptedUpError("x"), 130),
        (KeyboardInterrupt(), 130),
        (TwinError("x"), 1),
        (ToolMissingError("x"), 2),
        (DrillError("x"), 2),
        (PackageError("x"), 1),
        (ModelConfigError("x"), 2),
        (RegistryConfigError("x"), 2),
        (StoreConfigError("x"), 2),
        (PlannerError("x"), 2),
        (TraceError("x"), 2),
        (NoPlanError("x", Found("hybrid", None, None)), 1),
        (PriceError("x"), 2),
        (PriceListError("x"), 1),
        (type("ConfigError", (Exception,), {"__module__": "elsewhere"})("x"), 1),
        (ModuleNotFoundError("x", name="torch"), 2),
        (ValueError("x"), 1),
        (click.UsageError("x"), 2),
    ],
)
def test_exit_codes(error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert translate(error, debug=False).exit_code == code


def test_a_fault_of_our_own_says_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        raise KeyError("gateway")
    except KeyError as error:
        told = str(translate(error, debug=False))
    (details,) = tmp_path.glob("spillway-error-*.txt")
    assert "A fault of Spillway's own: KeyError: 'gateway', in test_usage.py line" in told
    assert str(details) in told
    assert "report it" in told
    assert "--debug" in told
    assert "Traceback (most recent call last)" in details.read_text()
    assert details.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "No space left on device: /data/x"),
        (PermissionError(errno.EACCES, "Permission denied", "report.html"), "Permission denied: report.html"),
        (NoCredentialsError(), "Unable to locate credentials. Look at your credentials"),
    ],
)
def test_what_the_machine_or_a_cloud_refuses_is_no_fault_of_ours(error: Exception, words: str) -> None:
    told = str(translate(error, debug=False))
    assert words in told
    assert type(error).__name__ not in told


def test_a_faulty_stack_file_is_one_message_and_leaves_nothing(runner: CliRunner, project: Path) -> None:
    path = project / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("spillway:exposure: public", "spillway:exposure: everyone"))
    done = runner.invoke(cli, ["preview"])
    assert done.exit_code == 2
    assert "spillway:exposure" in done.stderr
    assert "everyone" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".spillway" / "local").exists()


def test_a_misspelt_policy_is_a_wrong_stack_file_for_a_preview_too(runner: CliRunner, project: Path) -> None:
    path = project / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("stack_price:", "stack_prise:"))
    done = runner.invoke(cli, ["preview"])
    assert done.exit_code == 2
    assert "the stack file config/Pulumi.local.yaml cannot be deployed:" in done.stderr
    line = path.read_text().split("stack_prise:")[0].count("\n") + 1
    said = f"spillway:policies.stack_prise (line {line}): given an unknown key; did you mean stack_price?"
    assert said in done.stderr
    assert not (project / ".spillway" / "local").exists()


def test_engine_is_still_understood_as_deployer(
    runner: CliRunner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    for option in ("--deployer", "--engine"):
        done = runner.invoke(cli, ["preview", option, "pulumi"])
        assert (done.exit_code, "there is no `pulumi` on PATH" in done.stderr) == (2, True)
    assert "--engine" not in runner.invoke(cli, ["preview", "--help"]).stdout


def test_package_builds_by_default(runner: CliRunner, project: Path) -> None:
    for arguments in (
        ["package", "missing.yaml"],
        ["package", "--json", "missing.yaml"],
        ["package", "build", "missing.yaml"],
    ):
        done = runner.invoke(cli, arguments)
        assert (done.exit_code, "missing.yaml" in done.stderr) == (2, True)
    assert "rollback" in runner.invoke(cli, ["package", "--help"]).stdout
    assert "No such command 'psuh'" in runner.invoke(cli, ["package", "psuh"]).stderr
