"""What a twin makes for itself, and where the newest package is found."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from spillway.cli.stack import Stack, find_stack
from spillway.contracts.classes import RequestClass
from spillway.twin.stack import EXAMPLE_PASSPHRASE

CLUSTER = "http://127.0.0.1:1234"


def made_by(stack: Stack) -> dict[str, str]:
    names = stack.brief().secrets
    return stack.make_secrets(names, CLUSTER) if names else {}


def test_the_local_stack_gets_secrets_that_stay_and_are_private(project: Path) -> None:
    made = made_by(find_stack("local"))
    assert set(made) == {f"spillway-secrets:{name}" for name in ("kubeconfig", "gateway_operator_key", "drill_key")}
    assert CLUSTER in made["spillway-secrets:kubeconfig"]
    again = find_stack("local")
    assert made_by(again) == made
    assert again.client_key(RequestClass.P0) == made["spillway-secrets:drill_key"]
    files = list(again.secrets_dir.iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(again.secrets_dir.stat().st_mode) == 0o700


def test_a_report_on_a_stack_without_a_package_says_so(project: Path) -> None:
    """Plans are made before there is one: it used to end a search of minutes with an error."""
    path = project / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("packages/minilm/current", "packages/none/current"))
    about = find_stack("local").about()
    assert about["package"] == "none at .spillway/packages/none/current yet"
    assert about["stack"] == "spillway-local"


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_stacks_with_secrets_of_their_own_are_left_alone(project: Path, name: str) -> None:
    stack = find_stack(name)
    assert made_by(stack) == {}
    assert stack.passphrase == EXAMPLE_PASSPHRASE
    assert not stack.brief().has_processes
    assert not stack.state_dir.exists()


def test_what_is_in_the_file_wins_a_real_kubeconfig_too_and_the_rest_is_made(project: Path) -> None:
    path = project / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text() + "\n  spillway-secrets:drill_key: mine\n")
    stack = find_stack("local")
    assert "spillway-secrets:drill_key" not in made_by(stack)
    assert stack.client_key(RequestClass.P0) == "mine"
    path.write_text(path.read_text() + "\n  spillway-secrets:kubeconfig: 'apiVersion: v1'\n")
    made = {f"spillway-secrets:{name}" for name in ("gateway_operator_key",)}
    assert made_by(find_stack("local")).keys() == made


def test_reading_a_file_without_secrets_leaves_nothing_behind(project: Path) -> None:
    stack = find_stack("local")
    assert stack.settings.aws.region == "us-east-1"
    assert stack.brief().has_processes
    assert not stack.state_dir.exists()


def test_callers_keys_are_made_whatever_the_cluster_is(project: Path) -> None:
    path = project / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("kubeconfig_secret: kubeconfig", "kubeconfig_path: mine.yaml"))
    stack = find_stack("local")
    assert stack.brief().has_processes
    assert made_by(stack).keys() == {f"spillway-secrets:{name}" for name in ("gateway_operator_key", "drill_key")}


def test_the_passphrase_is_the_users_where_there_is_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_stack("local").passphrase
    assert made == find_stack("local").passphrase
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "my own")
    assert find_stack("local").passphrase == "my own"
