from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.paths import ROOT


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This repository's program with stack files and a state folder of its own, as the working directory."""
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    described = (ROOT / "Pulumi.yaml").read_text().replace("stacks/config", "config")
    (tmp_path / "Pulumi.yaml").write_text(described)
    (tmp_path / "stacks").symlink_to(ROOT / "stacks")
    shutil.copytree(ROOT / "stacks" / "config", tmp_path / "config")
    (tmp_path / ".spillway").mkdir()
    (tmp_path / ".spillway" / "packages").symlink_to(ROOT / ".spillway" / "packages")
    monkeypatch.chdir(tmp_path)
    return tmp_path
