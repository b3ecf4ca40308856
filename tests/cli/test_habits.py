"""What hands do without thinking: versions, completion, logs, status in a script, `make help`."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from spillway import __version__
from spillway.cli.main import cli
from spillway.cli.views import preview_text
from spillway.twin.deployer.api import DeployerError, Op, PreviewResult, Step
from spillway.twin.deployer.checkpoint import exclusive
from spillway.twin.ports import GATEWAY, PortError, Ports, choose_gateway_port
from tests.support.packages import small_package
from tests.support.paths import ROOT


def test_the_module_runs_and_the_version_has_its_commit() -> None:
    done = subprocess.run([sys.executable, "-m", "spillway", "--version"], capture_output=True, text=True, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    assert done.stdout.strip() == f"spillway {__version__}" + (f" (commit {commit})" if commit else "")


def completed(words: str, folder: Path) -> list[str]:
    """What a real bash offers for the last of these words."""
    script = f"""
    export PATH="{Path(sys.executable).parent}:$PATH"
    eval "$(spillway completion bash)"
    COMP_WORDS=({words} "$1") COMP_CWORD={len(words.split())}
    _spillway_completion spillway
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", ""], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_below_commands_and_stacks(project: Path) -> None:
    assert {"up", "down", "package", "logs"} <= set(completed("spillway", project))
    assert {"push", "verify", "tune"} <= set(completed("spillway package", project))
    assert completed("spillway up -s", project) == ["deepseek", "deepseek-v3", "dev", "local", "prod"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(runner: CliRunner, shell: str) -> None:
    script = runner.invoke(cli, ["completion", shell]).output
    assert f"_SPILLWAY_COMPLETE={shell}_complete" in script


def test_logs_are_told_by_process(runner: CliRunner, project: Path) -> None:
    none = runner.invoke(cli, ["logs"])
    assert (none.exit_code, "`spillway up -s local` starts one" in none.stderr) == (2, True)
    folder = project / ".spillway" / "local" / "logs"
    folder.mkdir(parents=True)
    (folder / "private-triton.log").write_bytes(b"one\ntwo\nthr\xe9e\n")
    (folder / "gateway-private-envoy.log").write_text("ready\n")
    told = json.loads(runner.invoke(cli, ["logs", "private", "-n", "2", "--json"]).stdout)["lines"]
    assert [(each["process"], each["line"]) for each in told] == [
        ("private-triton", "two"),
        ("private-triton", "thr�e"),
    ]
    assert "gateway-private-envoy | ready" in runner.invoke(cli, ["logs"]).stdout
    unknown = runner.invoke(cli, ["logs", "redis"])
    assert unknown.exit_code == 2
    assert "there are gateway-private-envoy, private-triton" in unknown.stderr


def test_the_status_of_a_stack_that_is_not_there_names_those_that_are(runner: CliRunner, project: Path) -> None:
    done = runner.invoke(cli, ["status", "-s", "nosuch"])
    assert done.exit_code == 2
    assert "Stacks that have one: deepseek, deepseek-v3, dev, local, prod" in done.stderr


@pytest.mark.parametrize("command", ["logs", "drill", "down"])
def test_no_command_leads_to_an_up_that_cannot_be(runner: CliRunner, project: Path, command: str) -> None:
    done = runner.invoke(cli, [command, "-s", "nosuch"])
    assert (done.exit_code, "Stacks that have one: deepseek" in done.stderr) == (2, True)
    assert "spillway up" not in done.stderr
    assert not (project / ".spillway" / "nosuch").exists()


@pytest.mark.usefixtures("project")
def test_the_stack_may_come_from_the_environment(runner: CliRunner) -> None:
    done = runner.invoke(cli, ["status", "--json"], env={"SPILLWAY_STACK": "dev"})
    assert (done.exit_code, json.loads(done.stdout)["stack"]) == (1, "dev")


def test_the_doctor_says_what_there_is_and_what_is_missing(
    runner: CliRunner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(runner.invoke(cli, ["doctor", "--json"]).stdout)["findings"]
    states = {one["what"]: one["state"] for one in told}
    assert states["Triton, NumPy 1, Envoy, Redis"] == states["extra twin"] == "ok"
    assert str(project) in next(one["detail"] for one in told if one["what"] == "project")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    elsewhere = runner.invoke(cli, ["doctor", "--json"])
    assert (elsewhere.exit_code, json.loads(elsewhere.stdout)["findings"][0]["state"]) == (1, "missing")


@pytest.mark.parametrize("columns", [60, 80])
def test_narrow_tables_fold_and_cut_nothing(columns: int) -> None:
    environment = {**os.environ, "COLUMNS": str(columns)}
    asked = [sys.executable, "-m", "spillway", "prices", "list"]
    shown = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns


def step(op: Op, path: str, name: str) -> Step:
    return Step(f"urn:pulumi:mine::spillway::{path}::{name}", path.rpartition("$")[2], name, op)


def test_a_preview_is_told_part_by_part_and_no_change_is_no_table() -> None:
    gateway = "spillway:gateway:Gateway"
    steps = (step("create", "pulumi:pulumi:Stack", "mine"), step("create", f"{gateway}$aws:ec2/eip:Eip", "eip"))
    steps += (step("create", "spillway:burst:Site", "site"), step("create", gateway, "gateway"))
    shown = io.StringIO()
    Console(width=100, file=shown).print(*preview_text(PreviewResult(steps, (), {}), diff=False))
    words = shown.getvalue().split()
    told = [word for word in words if word in ("stack:", "gateway:", "burst:", "eip", "site", "properties")]
    assert told == ["stack:", "gateway:", "eip", "burst:", "site"]
    nothing = PreviewResult((step("same", "pulumi:pulumi:Stack", "mine"),), (), {})
    assert list(preview_text(nothing, diff=False)) == ["0 resources; 1 same; 0.0 s"]


@pytest.mark.usefixtures("project")
def test_where_nothing_can_be_written_is_said_before_the_work(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    there = tmp_path / "file" / "below"
    for command in (["check", "--sarif"], ["drill", "--report"], ["plan", "--out"], ["package", "--out"]):
        done = runner.invoke(cli, [*command, str(there)])
        assert (done.exit_code, f"{tmp_path / 'file'} is no folder" in done.stderr) == (2, True), command
    (tmp_path / "trace.csv").write_text("time,input_tokens,output_tokens\n1,1,1\n")
    done = runner.invoke(cli, ["plan", "--trace", str(tmp_path / "trace.csv"), "--write", "prod"])
    assert (done.exit_code, "Pulumi.prod.yaml is there already" in done.stderr) == (2, True)


def test_a_model_by_name_and_a_precision_that_is_none_are_the_user_s_to_mend(runner: CliRunner, tmp_path: Path) -> None:
    named = runner.invoke(cli, ["package", "minilm"])
    assert (named.exit_code, "A model is given by its file" in named.stderr) == (2, True)
    package = small_package(tmp_path / "package")
    none = runner.invoke(cli, ["package", "compile", str(package), "--precision", "fp17"])
    assert (none.exit_code, "Precisions: fp32, fp16, int8, fp8" in none.stderr) == (2, True)


def test_a_second_drill_waits_for_nobody(tmp_path: Path) -> None:
    again = exclusive(tmp_path / "drill.lock", "drill")
    with (
        exclusive(tmp_path / "drill.lock", "drill"),
        pytest.raises(DeployerError, match="Another drill is at work"),
        again,
    ):
        pytest.fail("both were let in")


def test_down_does_not_pull_the_twin_away_from_an_up(runner: CliRunner, project: Path) -> None:
    state = project / ".spillway" / "local"
    with exclusive(state / "local.lock"):
        done = runner.invoke(cli, ["down"])
    assert (done.exit_code, "Another deployer is at work on this twin" in done.stderr) == (1, True)
    assert runner.invoke(cli, ["down"]).exit_code == 0


def test_the_gateways_port_is_chosen_kept_and_refused_where_it_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match="it is taken"):
            choose_gateway_port(tmp_path, port, running=False)
    choose_gateway_port(tmp_path, port, running=False)
    assert Ports(tmp_path).get(GATEWAY) == port
    with pytest.raises(PortError, match=f"run at port {port}"):
        choose_gateway_port(tmp_path, port + 1, running=True)


def test_make_says_what_there_is_to_make() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    assert [line.split()[0] for line in said.splitlines()] == targets
