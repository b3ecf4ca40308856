"""The tutorial of a chat that spills, run as it is written: its blocks, in one shell, in a project of its own."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.twin.handle import stop_twin
from tests.support.packages import small_package
from tests.support.pages import blocks, run_blocks, shell
from tests.support.paths import DOCS, ROOT
from tests.twin.data_plane.test_processes import marked

pytestmark = pytest.mark.heavy

PAGE = DOCS / "tutorial-chat.md"
SLOTS = 64
"""``vllm.slots`` of that example, on which the page's numbers rest."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """The repository as far as the page changes it. A package of nothing stands for the model: a stand-in answers."""
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks", ignore=shutil.ignore_patterns("__pycache__"))
    small_package(tmp_path / ".spillway" / "packages" / "smollm2" / "current", "vllm", slots=SLOTS)
    yield tmp_path
    stop_twin(tmp_path / ".spillway" / "chat")


def test_the_page_does_what_it_says(project: Path) -> None:
    promised = [ast.literal_eval(one.text) for one in blocks(PAGE) if one.language == "text"]
    said = shell("\n".join(one.text for one in run_blocks(PAGE)), project)
    found = [ast.literal_eval(line) for line in said.splitlines() if line.startswith("{'")]
    assert found == promised
    assert marked(project / ".spillway" / "chat") == []


def test_the_packaging_that_is_left_out_is_the_one_of_the_page() -> None:
    (left_out,) = (one.text.split() for one in blocks(PAGE) if one.mark.startswith("needs="))
    text = (ROOT / left_out[-1]).read_text(encoding="utf-8")
    assert left_out[:-1] == ["spillway", "package"]
    assert re.search(rf"^  slots: {SLOTS}\b", text, re.MULTILINE)
