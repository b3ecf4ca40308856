"""``spillway init``: the secrets of a stack that is begun."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spillway.cli.main import cli
from spillway.twin.deployer.project import read_project, read_stack_config
from tests.support.terminal import answered, rest

PHRASE = "four quiet words here"


def config(folder: Path) -> dict[str, str]:
    return read_stack_config(read_project(folder), "first", PHRASE).values


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_secrets_of_the_environment_are_sealed_and_callers_keys_drawn(runner: CliRunner, empty: Path) -> None:
    (empty / "kube").write_text("apiVersion: v1\nkind: Config\n")
    environment = {
        "PULUMI_CONFIG_PASSPHRASE": PHRASE,
        "SPILLWAY_SECRET_APP_KEY": "given",
        "SPILLWAY_SECRET_KUBECONFIG": f"@{empty / 'kube'}",
    }
    done = runner.invoke(cli, ["init", "first", "--template", "both-clouds", "--json"], env=environment)
    told = json.loads(done.stdout)
    assert (sorted(told["secrets_set"]), told["secrets"]) == (
        ["app_key", "gateway_operator_key", "kubeconfig"],
        [],
    )
    found = config(empty)
    assert found["spillway-secrets:app_key"] == "given"
    assert found["spillway-secrets:kubeconfig"] == "apiVersion: v1\nkind: Config\n"
    assert len(found["spillway-secrets:gateway_operator_key"]) >= 24
    text = (empty / "stacks" / "Pulumi.first.yaml").read_text()
    assert "given" not in text + done.output
    assert found["spillway-secrets:gateway_operator_key"] not in text + done.output


def test_without_a_passphrase_nothing_is_set_and_the_commands_are_told(runner: CliRunner, empty: Path) -> None:
    done = runner.invoke(
        cli, ["init", "first"], env={"PULUMI_CONFIG_PASSPHRASE": None, "SPILLWAY_SECRET_APP_KEY": "given"}
    )
    assert "pulumi config set --secret spillway-secrets:app_key -s first" in done.stdout
    assert "encryptionsalt" not in (empty / "stacks" / "Pulumi.first.yaml").read_text()


def test_a_secret_whose_file_is_not_there_is_named_before_anything_is_written(runner: CliRunner, empty: Path) -> None:
    environment = {"PULUMI_CONFIG_PASSPHRASE": PHRASE, "SPILLWAY_SECRET_KUBECONFIG": "@nowhere"}
    done = runner.invoke(cli, ["init", "first"], env=environment)
    assert (done.exit_code, "kubeconfig: @nowhere cannot be read" in done.stderr) == (2, True)
    assert list(empty.iterdir()) == []


def test_on_a_terminal_they_are_asked_for_and_not_shown(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    env = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_CONFIG")}
    command = [sys.executable, "-m", "spillway", "init", "first"]
    child = subprocess.Popen(command, cwd=tmp_path, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = answered(master, [(b"Passphrase", PHRASE), (b"epeat", PHRASE), (b"kubeconfig", "k"), (b"operator_key", "")])
    shown += answered(master, [(b"app_key", "typed key")])
    shown += rest(master)
    assert child.wait(30) == 0, shown
    assert b"Sealed under your passphrase: kubeconfig, gateway_operator_key, app_key" in shown
    assert b"typed key" not in shown
    assert config(tmp_path)["spillway-secrets:app_key"] == "typed key"
