"""What `spillway plan --write` makes of any kind of stack passes `spillway check`, as the stack itself did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from spillway.cli.main import cli
from spillway.cli.stack import Stack, find_stack
from spillway.planner.trace import synthetic
from tests.stacks.files import project
from tests.stacks.test_good_stacks import STACKS, judge, written

SPEEDS = {
    # The package has four slots: these are as many, and more.
    "same": ("--tokens-per-s", "50000,300", "--slots", "4"),
    "more": ("--tokens-per-s", "20000,60", "--slots", "64", "--scale", "8"),
}
KINDS = ("eks-vpn", "existing-vllm", "aks-traffic-manager", "existing-azure-ml-alone")

# A plan and a rehearsal of a whole stack for each of the speeds: half a minute.
pytestmark = [pytest.mark.heavy, pytest.mark.soak]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = synthetic(60, 2.0, seed=4)
    rows = np.column_stack([made.arrival, made.tokens_in, made.tokens_out])
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    lines = [f"{at:.6f},{t_in:.0f},{t_out:.0f},P{c}" for (at, t_in, t_out), c in zip(rows, made.klass, strict=True)]
    path.write_text("\n".join(["time,input_tokens,output_tokens,class", *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", [path for path in STACKS if path.stem in KINDS], ids=lambda path: path.stem)
def test_what_a_plan_writes_passes_the_check(
    path: Path, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(tmp_path, written(path, tmp_path)))
    before = _rules(find_stack("test"))
    for name, speeds in SPEEDS.items():
        asked = ["plan", "-s", "test", "--trace", str(trace), *speeds, "--mtbf-hours", "0", "--write", name, "--json"]
        done = CliRunner().invoke(cli, asked)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["stack_file"]
        assert _rules(find_stack(name)) <= before, name


def _rules(stack: Stack) -> set[str]:
    return {violation.finding.rule for violation in judge(stack)}
