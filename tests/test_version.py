"""One version: what names it follows ``spillway.__version__``, and the changelog has a place for it."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml

from components.gateway.settings import GatewaySettings
from spillway import __version__
from tests.support.paths import ROOT


def test_the_policy_pack_has_the_same_version() -> None:
    pack = yaml.safe_load((ROOT / "policies" / "PulumiPolicy.yaml").read_text(encoding="utf-8"))
    assert pack["version"] == __version__


def test_the_runtime_image_is_that_of_this_version() -> None:
    assert GatewaySettings().agent_image == f"ghcr.io/spillway/runtime:{__version__}"


def test_the_command_tells_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spillway.cli.main", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1] == __version__


def test_the_changelog_has_a_section_for_what_comes_and_dated_ones_for_what_was() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *released = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "Unreleased"
    assert [title for title in released if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title)] == []
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
