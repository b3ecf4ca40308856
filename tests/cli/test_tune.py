"""``spillway package tune``: what it refuses, and how it tells what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from spillway.cli.main import cli
from tests.support.paths import ROOT

VISION = ROOT / "model_packaging" / "examples" / "vision"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A perceptron of a few lines, with a search that takes seconds."""
    # A module is imported once a process: each test has one of its own.
    module = f"of_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(
        "import torch\n"
        "from model_packaging.sources import Entry\n\n\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))\n"
        "    samples = [{'input': torch.randn(1, 16)} for _ in range(4)]\n"
        "    return Entry(module=module, samples=samples)\n"
    )
    values = {
        "name": "tiny",
        "source": {"kind": "python", "entry": f"{module}:build", "search_path": ".", "licence": "Apache-2.0"},
        "variants": [{"precision": "fp32", "min_cosine": 0.999}],
        "tuning": {
            "max_p99_ms": 5000,
            "machine": {"usd_per_hour": 1.0},
            "batch_sizes": [1, 4],
            "instances": [1],
            "threads": [1],
            "seconds_per_trial": 0.2,
        },
    }
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.heavy
def test_the_choice_is_told_and_written(runner: CliRunner, project: Path, model: Path) -> None:
    target = model.with_name("tuned.yaml")
    done = runner.invoke(cli, ["package", "tune", str(model), "--write", str(target), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["chosen"]["usd_per_million"] == min(trial["usd_per_million"] for trial in told["trials"])
    written = yaml.safe_load(target.read_text())
    assert written["serve"] == "fp32"
    assert written["serving"] == told["model_yaml"]["serving"]
    again = json.loads(runner.invoke(cli, ["package", "tune", str(model), "--json"]).stdout)
    assert again["resumed"] == 2

    values = yaml.safe_load(model.read_text())
    values["targets"] = ["ngc-triton-25.09", "onnxruntime-cpu"]
    values["variants"].append({"precision": "fp16", "min_cosine": 0.99})
    values["serve"] = {"default": "fp32", "onnxruntime": "fp16"}
    values["tuning"]["layouts"] = ["triton"]
    model.write_text(yaml.safe_dump(values))
    partly = json.loads(runner.invoke(cli, ["package", "tune", str(model), "--write", str(target), "--json"]).stdout)
    kept = {"triton": partly["chosen"]["choice"]["variant"], "onnxruntime": "fp16"}
    said = yaml.safe_load(target.read_text())["serve"]
    assert said == (kept if kept["triton"] != "fp16" else "fp16")

    missed = runner.invoke(cli, ["package", "tune", str(model), "--max-p99-ms", "0.0001"])
    assert missed.exit_code == 1
    assert "Nothing holds 0.0001 ms" in missed.stdout


def change(model: Path, targets: tuple[str, ...] = (), **tuning: object) -> None:
    """Set these targets and keys of the ``tuning`` block; ``None`` takes one out."""
    values = yaml.safe_load(model.read_text())
    if targets:
        values["targets"] = list(targets)
    said = values["tuning"] | tuning
    values["tuning"] = {key: value for key, value in said.items() if value is not None}
    model.write_text(yaml.safe_dump(values))


@pytest.mark.heavy
def test_a_model_without_a_batch_axis_is_priced_one_by_one(runner: CliRunner, project: Path, model: Path) -> None:
    (entry,) = model.parent.glob("of_*.py")
    entry.write_text(entry.read_text().replace("samples=samples", "samples=samples, batched=False"))
    refused = runner.invoke(cli, ["package", "tune", str(model)])
    assert refused.exit_code == 2
    assert "tuning.batch_sizes: the model has no batch axis" in refused.stderr
    assert "give [1], or leave the key out (given: [1, 4])" in refused.stderr
    assert not (project / ".spillway" / "tuning").exists()

    change(model, batch_sizes=None)
    told = json.loads(runner.invoke(cli, ["package", "tune", str(model), "--json"]).stdout)
    assert [trial["choice"]["batch_size"] for trial in told["trials"]] == [1]


def test_a_place_that_cannot_be_written_is_refused_before_the_search(
    runner: CliRunner, project: Path, model: Path
) -> None:
    elsewhere = project / "config" / "tuned.yaml"
    done = runner.invoke(cli, ["package", "tune", str(model), "--write", str(elsewhere)])
    assert done.exit_code == 2
    assert f"choose a file beside {model}" in done.stderr
    gone = project / "gone"
    done = runner.invoke(cli, ["package", "tune", str(gone / "model.yaml"), "--write", str(gone / "tuned.yaml")])
    assert done.exit_code == 2
    assert f"nothing can be written to {gone}" in done.stderr
    assert not (project / ".spillway" / "tuning").exists()


@pytest.mark.heavy
def test_what_was_found_is_told_where_it_cannot_be_written(runner: CliRunner, project: Path, model: Path) -> None:
    """The model's own code puts a folder in the way, after the search has begun."""
    target = model.with_name("tuned.yaml")
    (entry,) = model.parent.glob("of_*.py")
    entry.write_text(f"import pathlib\npathlib.Path({str(target)!r}).mkdir()\n{entry.read_text()}")
    before = model.read_text()
    done = runner.invoke(cli, ["package", "tune", str(model), "--write", str(target), "--json"])
    assert done.exit_code == 1
    assert f"--write {target}: it cannot be written: Is a directory." in done.stderr
    told = json.loads(done.stdout)
    assert (told["chosen"]["state"], told["written"]) == ("held", None)
    assert model.read_text() == before
    assert not list(model.parent.glob(".*.new"))


BOTH = ("ngc-triton-25.09", "onnxruntime-cpu")


@pytest.mark.heavy
def test_onnxruntime_is_priced_as_its_server_answers(runner: CliRunner, project: Path, model: Path) -> None:
    """One request at a time, in one session and without a wait; what Triton's layout reads stays as it was."""
    change(model, BOTH, layouts=["onnxruntime"], batch_sizes=None, instances=None)
    values = yaml.safe_load(model.read_text())
    model.write_text(yaml.safe_dump(values | {"serving": {"max_batch_size": 16, "instances": 2}}))
    target = model.with_name("tuned.yaml")
    done = runner.invoke(cli, ["package", "tune", str(model), "--write", str(target), "--json"])
    told = json.loads(done.stdout)
    (trial,) = told["trials"]
    assert trial["choice"] == {"variant": "fp32", "batch_size": 1, "instances": 1, "threads": 1}
    assert trial["latency_ms"] == trial["p99_ms"]
    assert told["model_yaml"] == {"serve": "fp32", "serving": {"intra_op_threads": 1}}
    written = yaml.safe_load(target.read_text())["serving"]
    assert written == {"max_batch_size": 16, "instances": 2, "intra_op_threads": 1}


@pytest.mark.parametrize(
    ("tuning", "reason"),
    [
        ({"layouts": ["onnxruntime"]}, "tuning.batch_sizes: onnxruntime's server joins no requests: give [1]"),
        (
            {"layouts": ["onnxruntime"], "batch_sizes": [1], "instances": [1, 2]},
            "tuning.instances: onnxruntime's server has one session: give [1], or leave the key out (given: [1, 2])",
        ),
        ({}, "tuning.layouts: onnxruntime's server answers each request by itself"),
        ({"layouts": ["triton", "onnxruntime"]}, "give [onnxruntime], or [triton]"),
    ],
)
def test_what_the_server_of_a_layout_would_not_do_is_refused(
    tuning: dict[str, object], reason: str, runner: CliRunner, project: Path, model: Path
) -> None:
    change(model, BOTH, **tuning)
    done = runner.invoke(cli, ["package", "tune", str(model)])
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not (project / ".spillway" / "tuning").exists()


def test_a_model_without_the_block_is_told_what_to_add(runner: CliRunner, project: Path) -> None:
    done = runner.invoke(cli, ["package", "tune", str(VISION / "model.yaml")])
    assert done.exit_code == 2
    assert "tuning: no such block" in done.stderr


def test_a_language_model_is_refused(runner: CliRunner, project: Path) -> None:
    done = runner.invoke(cli, ["package", "tune", str(VISION.parent / "smollm2" / "model.yaml")])
    assert done.exit_code == 2
    assert "language model" in done.stderr
