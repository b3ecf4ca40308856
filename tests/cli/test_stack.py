"""What a twin makes for itself, and where the newest package is found."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from spillway.cli.errors import CommandError
from spillway.cli.package import point_at
from spillway.cli.stack import EXAMPLE_PASSPHRASE, find_stack

CLUSTER = "http://127.0.0.1:1234"


def test_the_local_stack_gets_secrets_that_stay_and_are_private(project: Path) -> None:
    made = find_stack("local").twin_secrets(CLUSTER)
    assert set(made) == {
        f"spillway-secrets:{name}" for name in ("kubeconfig", "gateway_operator_key", "drill_key", "azure_reader")
    }
    assert CLUSTER in made["spillway-secrets:kubeconfig"]
    assert json.loads(made["spillway-secrets:azure_reader"])["client_secret"]
    again = find_stack("local")
    assert again.twin_secrets(CLUSTER) == made
    assert again.client_key("P0") == made["spillway-secrets:drill_key"]
    files = list(again.secrets_dir.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(again.secrets_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_stacks_with_secrets_of_their_own_are_left_alone(project: Path, name: str) -> None:
    stack = find_stack(name)
    assert stack.twin_secrets(CLUSTER) == {}
    assert stack.passphrase == EXAMPLE_PASSPHRASE
    assert not stack.has_processes
    assert not stack.state_dir.exists()


def test_a_secret_in_the_file_wins_and_a_real_kubeconfig_ends_the_making(project: Path) -> None:
    path = project / "config" / "Pulumi.local.yaml"
    path.write_text(path.read_text() + "\n  spillway-secrets:drill_key: mine\n")
    stack = find_stack("local")
    assert "spillway-secrets:drill_key" not in stack.twin_secrets(CLUSTER)
    assert stack.client_key("P0") == "mine"
    path.write_text(path.read_text() + "\n  spillway-secrets:kubeconfig: 'apiVersion: v1'\n")
    assert find_stack("local").twin_secrets(CLUSTER) == {}


def test_the_passphrase_is_the_users_where_there_is_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_stack("local").passphrase
    assert made == find_stack("local").passphrase
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "my own")
    assert find_stack("local").passphrase == "my own"


def test_current_leads_to_the_newest_package_and_moves_with_the_store(tmp_path: Path) -> None:
    first, second = tmp_path / "store" / "one", tmp_path / "store" / "two"
    first.mkdir(parents=True)
    second.mkdir()
    assert point_at(first).resolve() == first
    link = point_at(second)
    assert link.resolve() == second
    assert sorted(path.name for path in link.parent.iterdir()) == ["current", "one", "two"]
    moved = (tmp_path / "store").rename(tmp_path / "elsewhere")
    assert (moved / "current").resolve() == moved / "two"


def test_a_folder_named_current_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    (tmp_path / "one").mkdir()
    with pytest.raises(CommandError, match="no link"):
        point_at(tmp_path / "one")
