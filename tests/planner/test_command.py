"""``spillway plan`` and ``spillway report`` as a user types them, and the stack file that a plan becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from spillway.cli.main import cli
from spillway.planner.trace import synthetic
from tests.planner.test_history import cloudwatch  # noqa: F401
from tests.stacks.files import changed, example, project
from tests.support.packages import small_package
from tests.support.plans import preview

RATES = ("--tokens-per-s", "10000,60", "--slots", "16")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stack ``test`` is the local example; the working directory."""
    change = {"spillway:package.path": str(small_package(tmp_path / "package"))}
    folder = project(tmp_path / "project", changed(example("local"), change))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = synthetic(120, 2.0, seed=4)
    rows = np.column_stack([made.arrival, made.tokens_in, made.tokens_out])
    lines = [f"{at:.6f},{t_in:.0f},{t_out:.0f},P{c}" for (at, t_in, t_out), c in zip(rows, made.klass, strict=True)]
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    path.write_text("\n".join(["time,input_tokens,output_tokens,class", *lines]), encoding="utf-8")
    return path


def spillway(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.heavy
def test_a_plan_is_told_drawn_and_written(stack: Path, trace: Path) -> None:
    quick = ("--tokens-per-s", "50000,300", "--mtbf-hours", "500", "--mttr-hours", "0.1")
    done = spillway("plan", "-s", "test", "--trace", str(trace), *quick, "--write", "planned", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"hybrid", "all_public", "all_private"} <= set(found["bills"])
    assert -1 < found["saving_vs_all_public"] < 1
    assert all(Path(path).stat().st_size > 1000 for path in found["files"])
    written = yaml.safe_load(Path(found["stack_file"]).read_text(encoding="utf-8"))["config"]
    said = Path(found["stack_file"]).read_text(encoding="utf-8")
    assert "# Private: 0.90 $/h an instance; out every 500 h for 0.1 h." in said
    assert "# In time: P0 begun within 0.5 s, 99.95%" in said
    sizes = {site["site"]: site for site in found["plan"]["sites"]}
    assert written["spillway:private_cluster"]["nodes"] == sizes["private"]["min_instances"]
    for site in ("sagemaker", "azure_ml"):
        part = written["spillway:burst"][site]
        assert part["min_instances"] == sizes[site]["min_instances"]
        assert part["max_instances"] == sizes[site]["max_instances"]
    plan = preview(stack, written)
    assert len(plan.steps) > 100
    again = spillway("plan", "-s", "test", "--trace", str(trace), *RATES, "--write", "planned")
    assert again.exit_code == 2
    assert "is there already" in again.stderr


FAULTS = {
    "no trace": ((), "--trace is missing"),
    "rates": (("--tokens-per-s", "fast"), "write two numbers"),
    "rate of 0": (("--tokens-per-s", "0,5"), "must be above 0"),
    "measurement": (("--measured", "gpt-9"), "there are: llama2-70b"),
    "objective": ((*RATES, "--objective", "P0=fast"), "write CLASS=[MEASURE:]SECONDS:SHARE"),
    "measure": ((*RATES, "--objective", "P0=speed:1:0.9"), "'speed' is none of wait, first_token, latency"),
    "share": ((*RATES, "--objective", "P0=1:2"), "up to 1"),
    "owned": ((*RATES, "--owned", "tpu-9"), "the catalogue has h100-8"),
    "price": ((*RATES, "--private-usd-per-gpu-hour", "-1"), "give 0 or more"),
    "two prices": ((*RATES, "--private-usd-per-gpu-hour", "1", "--owned", "h100-8"), "goes with no --owned"),
    "outages": ((*RATES, "--mttr-hours", "0"), "above 0"),
    "commitment": ((*RATES, "--commit", "spot"), "savings_1y, savings_3y, capacity_block, or a share off the list"),
    "growth": ((*RATES, "--growth", "30%"), "e.g. 30%/quarter"),
    "spot price alone": ((*RATES, "--spot-usd-per-hour", "1"), "goes with --spot-hours"),
    "spot price": ((*RATES, "--spot-hours", "20"), "no spot price of g5.xlarge in us-east-1 is known"),
    "scale": ((*RATES, "--scale", "-2"), "above 0"),
    "no latencies": ((), "no latencies"),
    "too large a server": (("--measured", "llama2-70b-h100-x8"), "choose a larger instance type"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("stack")
def test_bad_input_ends_with_2_and_says_why(trace: Path, name: str) -> None:
    options, said = FAULTS[name]
    given = () if name == "no trace" else ("--trace", str(trace))
    done = spillway("plan", "-s", "test", *given, *options)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())


def test_spot_nodes_want_to_be_told_how_often_they_are_taken_away(
    tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(example("prod"), {"spillway:private_cluster.gpu_pool.capacity_type": "SPOT"})
    monkeypatch.chdir(project(tmp_path, config))
    done = spillway("plan", "-s", "test", "--trace", str(trace), *RATES)
    assert done.exit_code == 2
    assert "taken away with --instance-mtbf-hours" in " ".join(done.output.split())


@pytest.mark.usefixtures("stack")
def test_a_bad_trace_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("time,input_tokens,output_tokens\n5000,1,1\n1,1,1\n")
    done = spillway("plan", "-s", "test", "--trace", str(path), *RATES)
    assert done.exit_code == 2
    assert "line 3" in done.output


@pytest.mark.usefixtures("stack")
def test_an_impossible_promise_ends_with_1_and_the_nearest_plan(trace: Path) -> None:
    done = spillway(
        "plan", "-s", "test", "--trace", str(trace), "--tokens-per-s", "40,1", "--objective", "P0=0.001:1",
        "--objective", "P1=0.001:1", "--scale", "5",
    )  # fmt: skip
    assert done.exit_code == 1, done.output
    assert "no plan holds this" in done.output
    assert "the nearest" in done.output


def test_an_unknown_price_is_named(tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(example("local"), {"spillway:burst.sagemaker.instance_type": "ml.g9.xlarge"})
    monkeypatch.chdir(project(tmp_path, config))
    done = spillway("plan", "-s", "test", "--trace", str(trace), *RATES)
    assert done.exit_code == 2
    assert "no sagemaker price of ml.g9.xlarge in us-east-1" in done.output


@pytest.mark.usefixtures("stack")
def test_report_reads_the_metrics_of_the_stack(cloudwatch: Any) -> None:  # noqa: F811
    url = cloudwatch.meta.endpoint_url
    none = spillway("report", "-s", "test", "--endpoint-url", url)
    assert none.exit_code == 2
    assert "no Spillway/BurstDollarsPerHour of stack 'spillway-test'" in none.output
    for hour in range(1, 25):
        at = datetime.now(UTC) - timedelta(hours=hour)
        dimensions = [{"Name": "Stack", "Value": "spillway-test"}]
        data = {"MetricName": "BurstDollarsPerHour", "Timestamp": at, "Value": 2.5, "Dimensions": dimensions}
        cloudwatch.put_metric_data(Namespace="Spillway", MetricData=[data])
    done = spillway("report", "-s", "test", "--endpoint-url", url, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["hours"] == 24
    assert found["what_if"][0]["usd_per_month"] == pytest.approx((2.5 + 0.9) * 730, rel=0.01)


@pytest.mark.usefixtures("stack")
def test_showback_writes_a_months_hours_and_a_page(cloudwatch: Any, tmp_path: Path) -> None:  # noqa: F811
    """Of the example's private nodes at 0.9 $/h: one hour of them was alice's, the rest of the month nobody's."""
    at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    named = {"Stack": "spillway-test", "Client": "alice", "Class": "P1", "Model": "echo", "Site": "private"}
    dimensions = [{"Name": name, "Value": value} for name, value in named.items()]
    data = {"MetricName": "AnswerSeconds", "Timestamp": at, "Value": 12.0, "Dimensions": dimensions}
    cloudwatch.put_metric_data(Namespace="Spillway", MetricData=[data])
    out = tmp_path / "showback"
    done = spillway(
        "showback", "-s", "test", "--endpoint-url", cloudwatch.meta.endpoint_url, "--out", str(out), "--json"
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["cents"]["alice"] == 90
    assert [Path(path).suffix for path in found["files"]] == [".csv", ".html"]
    rows = Path(found["files"][0]).read_text(encoding="utf-8").splitlines()
    assert f"{at:%Y-%m-%dT%H:%MZ},alice,P1,echo,private,0,0,0,0,12.000,0.900000" in rows
    wrong = spillway("showback", "-s", "test", "--month", "November", "--endpoint-url", cloudwatch.meta.endpoint_url)
    assert wrong.exit_code == 2
    assert "write year and month" in wrong.output
