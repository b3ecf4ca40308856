"""The tutorial of a chat that spills, run as it is written: its blocks, in one shell, in a project of its own."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.twin.handle import stop_twin
from tests.support.packages import small_package
from tests.support.paths import DOCS, ROOT
from tests.twin.data_plane.test_processes import marked

pytestmark = pytest.mark.heavy

PAGE = (DOCS / "tutorial-chat.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGING = "spillway package model_packaging/examples/smollm2/model.yaml"
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


def run(project: Path, commands: str) -> str:
    """What they print, in one shell that ends with the first that fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": f"{project}:{ROOT}"}
    variables.pop("PULUMI_CONFIG_PASSPHRASE", None)
    shell = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(shell, cwd=project, env=variables, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_page_does_what_it_says(project: Path) -> None:
    blocks = BLOCK.findall(PAGE)
    commands = [text for language, text in blocks if not language and text.strip() != PACKAGING]
    promised = [ast.literal_eval(text) for language, text in blocks if language == "text"]
    said = run(project, "\n".join(commands))
    found = [ast.literal_eval(line) for line in said.splitlines() if line.startswith("{'")]
    assert found == promised
    assert marked(project / ".spillway" / "chat") == []


def test_the_packaging_that_is_left_out_is_the_one_of_the_page() -> None:
    text = (ROOT / "model_packaging" / "examples" / "smollm2" / "model.yaml").read_text(encoding="utf-8")
    assert [block for _, block in BLOCK.findall(PAGE) if block.strip() == PACKAGING]
    assert re.search(rf"^  slots: {SLOTS}\b", text, re.MULTILINE)
