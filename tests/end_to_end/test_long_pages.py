"""What the pages show and takes minutes, run as it is written. The full drill is among
the shipped ones, in test_scenarios.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spillway.contracts.manifest import verify_package
from spillway.twin.data_plane.processes.child import free_port
from tests.end_to_end.site import LocalSite, make_project
from tests.support.pages import block, long_blocks, shell
from tests.support.paths import DOCS, ROOT
from tests.support.waiting import await_server

pytestmark = [pytest.mark.heavy, pytest.mark.soak, pytest.mark.timeout(2400)]

HOW_TO = DOCS / "how-to"
MODEL = """
import torch
from model_packaging.sources import Entry

def build():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    return Entry(module=module, samples=[{"input": torch.randn(1, 16)} for _ in range(4)])
"""


@pytest.fixture
def project(minilm_package: Path, tmp_path: Path) -> Path:
    folder = make_project(tmp_path)
    packages = folder / ".spillway" / "packages"
    packages.unlink()
    packages.mkdir()
    (packages / "minilm").symlink_to(minilm_package.parent)
    (folder / "model_packaging").symlink_to(ROOT / "model_packaging")
    return folder


def test_the_language_example_is_packaged(project: Path) -> None:
    """The tutorial of chats has the same block."""
    packaged = block(HOW_TO / "language-models.md", "spillway package")
    assert packaged in long_blocks(DOCS / "tutorial-chat.md")
    shell(packaged.text, project, timeout_s=1800)
    manifest = verify_package(project / ".spillway" / "packages" / "smollm2" / "current")
    assert manifest.language_figures


def test_the_cheapest_way_is_found_and_written(project: Path) -> None:
    (project / "tuned_model.py").write_text(MODEL)
    values = {
        "name": "tiny",
        "source": {"kind": "python", "entry": "tuned_model:build", "search_path": ".", "licence": "none"},
        "variants": [{"precision": "fp32", "min_cosine": 0.999}],
        "tuning": {"max_p99_ms": 5000, "machine": {"usd_per_hour": 1.0}, "instances": [1], "seconds_per_trial": 0.2},
    }
    (project / "model.yaml").write_text(yaml.safe_dump(values))
    shell(block(HOW_TO / "tune-a-model.md", "spillway package tune").text, project)
    assert yaml.safe_load((project / "tuned.yaml").read_text())["serve"] == "fp32"


def test_a_plan_is_made_and_what_it_wrote_is_previewed(project: Path) -> None:
    said = shell(block(HOW_TO / "plan-capacity.md", "spillway plan -s prod").text, project, timeout_s=1800)
    assert (project / ".spillway" / "prod" / "plan" / "plan.html").is_file()
    assert (project / "config" / "Pulumi.prod-planned.yaml").is_file()
    assert "$/h at peak" in said


def test_a_drill_is_held_against_the_planner(site: LocalSite) -> None:
    """1 says that a prediction was off; how near ten minutes of load come is tests/planner/test_validate.py's."""
    site.spillway("drill", "--short")
    command = block(HOW_TO / "plan-capacity.md", "spillway plan -s local --validate").text.strip()
    said = shell(f"{command} || [ $? = 1 ]", site.project)
    assert {"P0", "P1", "P2"} <= set(said.split())


def test_the_costs_of_a_change_are_told(project: Path) -> None:
    said = shell(block(HOW_TO / "costs.md", "spillway cost -s prod --json").text, project)
    assert said.startswith("#")
    assert (project / "before.json").is_file()


def test_the_cpu_server_answers_as_the_page_asks_it(project: Path, tmp_path: Path) -> None:
    serve, ask = block(HOW_TO / "your-own-model.md", "python score.py").commands
    port = str(free_port())
    folder = project / ".spillway" / "packages" / "minilm" / "current" / "onnxruntime"
    words = serve.partition("#")[0].replace("8080", port).split()
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, *words[1:]], cwd=folder, stdout=log, stderr=log)
    try:
        await_server(server, f"http://localhost:{port}/ping")
        assert '"EMBEDDING"' in shell(ask.replace("8080", port), project)
    finally:
        server.kill()
        server.wait()
