"""The stack file that a plan becomes: all that the plan assumed, and what the user wrote around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.contracts.classes import Site
from spillway.planner.search import Candidate, judged
from spillway.planner.service import from_rates
from spillway.planner.simulate import run_trace
from spillway.planner.system import SiteSpec, System
from spillway.planner.trace import synthetic
from stacks.planned_file import planned_config, write_planned
from stacks.sites import burst_sites
from stacks.stack_file import read_settings
from tests.stacks.files import CONFIG_DIR, example, flat

PROD = CONFIG_DIR / "Pulumi.prod.yaml"


def spec(site: Site, name: str, gpus: int, usd: float, least: int, most: int) -> SiteSpec:
    return SiteSpec(
        site=site, cloud="any", instance_type=name, gpu="H100", gpus=gpus, usd_per_hour=usd, servers=gpus // 4,
        slots=16, min_instances=least, max_instances=most,
    )  # fmt: skip


@pytest.fixture(scope="module")
def chosen() -> Candidate:
    """Servers of four GPUs; nothing of Azure's holds one."""
    sites = (
        spec(Site.PRIVATE, "g6.12xlarge", 4, 4.6, 3, 6),
        spec(Site.SAGEMAKER, "ml.p5.48xlarge", 8, 63.296, 1, 4),
    )
    trace, system = synthetic(60, 1.0, seed=1), System(sites=sites)
    service = from_rates(5000, 50, slots=16, gpus_per_server=4)
    return judged("hybrid", system, run_trace(trace, service, system), trace.tokens)


def planned(
    folder: Path, chosen: Candidate, outage_h: float = 4.0, package_slots: int | None = 16
) -> tuple[str, dict[str, Any], list[str]]:
    target = folder / "Pulumi.planned.yaml"
    sites = burst_sites(read_settings(flat(example("prod"))))
    notes = write_planned(PROD, target, sites, chosen, ["Because."], outage_h, package_slots)
    text = target.read_text(encoding="utf-8")
    return text, yaml.safe_load(text)["config"], notes


def test_all_that_the_plan_assumed_is_written(chosen: Candidate, tmp_path: Path) -> None:
    _, config, notes = planned(tmp_path, chosen)
    assert config["spillway:model_server"]["gpus"] == 4
    assert config["spillway:model_server"]["autoscaling"]["min_replicas"] == 3
    assert config["spillway:burst"]["sagemaker"]["instance_type"] == "ml.p5.48xlarge"
    assert "azure_ml" not in config["spillway:burst"]
    assert any("burst.azure_ml: taken out" in note for note in notes)


def test_what_the_user_wrote_stays(chosen: Candidate, tmp_path: Path) -> None:
    text, _, _ = planned(tmp_path, chosen)
    said = [line for line in PROD.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("#")]
    assert [line for line in said if line not in text.splitlines()] == []
    assert "gpu_pool: { instance_type: g6.12xlarge, gpus_per_node: 4, min_nodes: 3, max_nodes: 6 }" in text


def test_a_ceiling_lets_a_day_with_an_outage_pass(chosen: Candidate, tmp_path: Path) -> None:
    """All burst runs in an outage, for that is what it is there for: four times 63.296 $/h for eight hours of a day."""
    _, config, _ = planned(tmp_path, chosen)
    day = (8 * 4 * 63.296 + 16 * 63.296) / 24 * 730
    assert config["spillway:cost_guard"]["max_burst_usd_per_hour"] >= 4 * 63.296
    assert day < config["spillway:cost_guard"]["max_forecast_usd"] < 1.2 * day
    other = tmp_path / "calm"
    other.mkdir()
    _, calm, _ = planned(other, chosen, 0.0)
    assert calm["spillway:cost_guard"]["max_forecast_usd"] < day


def test_the_alarm_of_the_mix_is_above_what_always_runs(chosen: Candidate, tmp_path: Path) -> None:
    """Three nodes of four GPUs at 4.60 $/h, and eight GPUs at 63.296: 3.85 $ a GPU and hour, and a tenth more."""
    _, config, _ = planned(tmp_path, chosen)
    assert config["spillway:cost_guard"]["max_usd_per_gpu_hour"] == pytest.approx(1.1 * (13.8 + 63.296) / 20, abs=0.01)


def test_servers_on_several_nodes_stay_so(tmp_path: Path) -> None:
    """Two of them, planned as one unit of two nodes each, are four nodes."""
    unit = spec(Site.PRIVATE, "2 x p5.48xlarge", 16, 220.0, 2, 2).model_copy(update={"servers": 1})
    h200 = spec(Site.AZURE_ML, "Standard_ND96isr_H200_v5", 8, 84.8, 1, 2).model_copy(update={"servers": 1})
    trace, system = synthetic(60, 1.0, seed=1), System(sites=(unit, h200))
    service = from_rates(5000, 50, slots=16, gpus_per_server=8)
    found = judged("hybrid", system, run_trace(trace, service, system), trace.tokens)
    sites = burst_sites(read_settings(flat(example("deepseek-v3"))))
    target = tmp_path / "Pulumi.planned.yaml"
    write_planned(CONFIG_DIR / "Pulumi.deepseek-v3.yaml", target, sites, found, [], 0.0)
    config = yaml.safe_load(target.read_text(encoding="utf-8"))["config"]
    assert config["spillway:private_cluster"]["gpu_pool"]["min_nodes"] == 4
    assert config["spillway:model_server"]["gpus"] == 8
    assert config["spillway:model_server"]["span"] == {"nodes": 2}
    assert config["spillway:model_server"]["autoscaling"]["min_replicas"] == 2


def test_a_cluster_that_is_there_is_not_asked_for_more_servers_than_it_has_room_for() -> None:
    """The plan's server takes a whole node where two of the stack's shared one."""
    raw = {
        "config": {
            "spillway:private_cluster": {"kind": "existing", "nodes": 2, "gpus_per_node": 4},
            "spillway:model_server": {"autoscaling": {"min_replicas": 4, "max_replicas": 8}},
        }
    }
    sites = (spec(Site.PRIVATE, "a node of yours", 4, 6.0, 4, 4),)
    trace, system = synthetic(60, 1.0, seed=1), System(sites=sites)
    service = from_rates(5000, 50, slots=16, gpus_per_server=4)
    file, _ = planned_config(raw, (), judged("private", system, run_trace(trace, service, system), trace.tokens))
    assert file["config"]["spillway:private_cluster"]["nodes"] == 4
    assert file["config"]["spillway:model_server"]["autoscaling"] == {"min_replicas": 4, "max_replicas": 4}


def test_slots_of_a_site_that_grows_follow_its_instances(chosen: Candidate, tmp_path: Path) -> None:
    """A number would stay: `gateway-follows-capacity` refuses it. An instance of two servers, 32 slots in the plan, has
    8 by this package, and the target is the same share of them."""
    _, config, notes = planned(tmp_path, chosen, package_slots=8)
    slots = config["spillway:gateway"]["slots"]
    assert [each for each in slots.values() if "slots" in each] == []
    assert slots["sagemaker"]["batch_slots"] == 4
    (sagemaker,) = (spec for spec in chosen.bursts if spec.site == Site.SAGEMAKER)
    assert config["spillway:burst"]["sagemaker"]["autoscaling"]["target"] == sagemaker.scaling.target / 4
    assert any("gateway.slots.sagemaker: as the package has them, 8 for each instance" in note for note in notes)


def test_slots_of_a_site_that_does_not_grow_are_the_plans(chosen: Candidate, tmp_path: Path) -> None:
    """What a gateway lets in, which is less than vLLM takes into a batch: the rest is P0's."""
    of_fixed_size = (spec.sized(spec.min_instances) for spec in chosen.system.sites)
    sites = tuple(spec.model_copy(update={"gate_slots": 10}) for spec in of_fixed_size)
    still = replace(chosen, system=chosen.system.model_copy(update={"sites": sites}))
    _, config, _ = planned(tmp_path, still, package_slots=8)
    assert config["spillway:gateway"]["slots"]["sagemaker"] == {"slots": 2 * 10, "batch_slots": 10}
    other = tmp_path / "same"
    other.mkdir()
    _, same, _ = planned(other, still, package_slots=20)
    assert same["spillway:gateway"]["slots"]["sagemaker"] == {"batch_slots": 10}
