"""How-tos, run as they are written, in a project of their own with a package of nothing. Those that need a twin are run
on the main job's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from spillway.cli.main import cli
from tests.end_to_end.site import make_project
from tests.support.packages import small_package
from tests.support.pages import NEEDS, SHELL, blocks, long_blocks, run, run_blocks
from tests.support.paths import DOCS, ROOT

HOW_TO = DOCS / "how-to"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("tutorial*.md")), *sorted(HOW_TO.glob("*.md")))


def release_before(project: Path) -> None:
    """A version in production, to go back to."""
    older = small_package(project / "older", slots=2)
    done = CliRunner().invoke(cli, ["package", "push", str(older), "--stage", "production"])
    assert done.exit_code == 0, done.output


BEFORE: dict[str, Callable[[Path], None]] = {
    "costs.md": lambda project: None,
    "deploy.md": lambda project: None,
    "policies.md": lambda project: None,
    "registry.md": release_before,
}
"""What stands before a page begins."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path)
    (folder / ".spillway" / "packages").unlink()
    packages = folder / ".spillway" / "packages"
    package = small_package(packages / "echo" / "newest")
    (packages / "echo" / "current").symlink_to(package)
    (packages / "minilm").symlink_to(packages / "echo")
    monkeypatch.chdir(folder)
    return folder


SLOW = "policies.md"
"""The whole rehearsal of prod, twenty seconds of CPU, which tests/policies/test_check.py has in every run."""


@pytest.mark.heavy
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.soak] if page == SLOW else []) for page in BEFORE]
)
def test_a_how_to_does_what_it_says(project: Path, page: str) -> None:
    BEFORE[page](project)
    for found in run_blocks(HOW_TO / page):
        run(found, project, {"minilm": "echo"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shell_block_is_run_or_says_what_it_needs(page: Path) -> None:
    marks = {one.mark for one in blocks(page) if one.language in SHELL}
    assert "" not in {one.language for one in blocks(page)}, "say of each block what it is"
    assert marks - {"run"} <= {f"needs={what}" for what in NEEDS}, "see tests/support/pages.py"


def test_every_block_that_is_to_run_does() -> None:
    """The main job names its blocks by how they begin; the chat's tutorial is run whole."""
    shown = re.findall(r'shown\(site, (\w+), "([^"]+)"\)', source_of("test_main_job.py"))
    for page in PAGES:
        if page.name in BEFORE or page.name == "tutorial-chat.md":
            continue
        begun = [begins for name, begins in shown if name == page.stem.upper()]
        left = [one.text for one in run_blocks(page) if not any(one.commands[0].startswith(each) for each in begun)]
        assert left == [], page


def test_every_block_that_takes_minutes_is_run_by_the_soak_set() -> None:
    source = source_of("test_long_pages.py") + source_of("test_scenarios.py")
    shown = set(re.findall(r'block\(HOW_TO / "([^"]+)", "([^"]+)"\)', source))
    found = {(page.name, one.commands[0]) for page in PAGES for one in long_blocks(page)}
    found -= {("tutorial-chat.md", one.commands[0]) for one in long_blocks(HOW_TO / "language-models.md")}
    left = [(page, command) for page, command in found if not any(command.startswith(b) for p, b in shown if p == page)]
    assert left == []


def source_of(module: str) -> str:
    return (Path(__file__).parent / module).read_text(encoding="utf-8")
