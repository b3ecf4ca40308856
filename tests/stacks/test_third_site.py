"""A burst site is one object: a third one, written in a folder of the tests, goes wherever the two that ship go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.burst.site import BurstSite
from components.burst.sites import SITES
from spillway.contracts.classes import RequestClass
from spillway.contracts.function_config import CostConfig, CutoffConfig
from spillway.contracts.manifest import read_manifest
from spillway.contracts.routing import RoutingTable
from spillway.planner.service import from_rates
from spillway.planner.system import default_objectives
from spillway.runtime.functions import cost_signal, cutoff
from stacks.package import Package
from stacks.planning import PrivatePrice, space_of
from stacks.pricing import price_per_hour, stale_prices
from stacks.routing import DeployedNames, routing_table
from stacks.rules import problems_between, problems_with_package
from stacks.settings import StackSettings
from stacks.stack_file import parse_settings
from stacks.support import cell, table
from tests.stacks.files import ROOT, changed, example, flat
from tests.stacks.third_site.functions import FLEETS
from tests.stacks.third_site.site import Metal
from tests.support.packages import small_package
from tests.support.recording import of_type, record

METAL = Metal("h100-8", least=1, most=3)
SITES_ONE: tuple[BurstSite, ...] = (METAL,)
ANSWERS = {
    "kubernetes:core/v1:Service": {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}},
    "aws:acm/certificate:Certificate": {
        "domainValidationOptions": [
            {"resourceRecordName": "n", "resourceRecordType": "CNAME", "resourceRecordValue": "v"}
        ]
    },
}
"""What the clouds add to resources, as far as the program reads it."""
OWN = {"metal/h100-8/fsn-1": 16.0}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    folder = small_package(tmp_path / "package")
    return Package(read_manifest(folder), folder)


def settings(package: Package, **changes: Any) -> StackSettings:
    """A stack whose only burst site is the third one."""
    config = changed(
        example("local"),
        {
            "spillway:package.path": str(package.path),
            "spillway:burst": {},
            "spillway:cost_guard.prices": OWN,
            "spillway:cost_guard.gpus": {"h100-8": 8},
            **changes,
        },
    )
    return parse_settings(flat(config))


def test_it_is_in_the_support_table() -> None:
    cells = [found for found in table((*SITES, Metal)) if found.burst == ("sagemaker", "azure_ml", "metal")]
    assert {found.refused for found in cells} == {None}
    assert {found.queue.split(", then ")[-1] for found in cells} == {"bare-metal queue"}
    alone = cell("eks", (Metal,), "traffic_manager", (*SITES, Metal))
    assert alone.refused is not None
    assert alone.refused.endswith("or add burst.azure_ml"), "it is not in Azure"


def test_it_is_in_the_routing_table(package: Package) -> None:
    stack = settings(package)
    hashes = {client.name: "0" * 64 for client in stack.gateway.clients}
    names = DeployedNames("p", {"metal": "metal.example.com"}, hashes, "1" * 64, "/cutoff", "/live")
    found = routing_table(stack, package.manifest, SITES_ONE, names)
    assert [route.site for route in found.sites] == ["private", "metal"]
    assert found.allowed_sites(RequestClass.P1, "anywhere") == ("private", "metal")
    assert found.standby(1).sites == (found.site("metal"),)


def test_it_has_prices(package: Package) -> None:
    from datetime import date

    stack = settings(package)
    assert price_per_hour(stack, SITES_ONE)["metal"] == 16.0
    assert "metal" not in {price.cloud for price in stale_prices(stack, SITES_ONE, date(2040, 1, 1))}, "one's own"


def test_rules_judge_it(package: Package) -> None:
    ceiling = {"spillway:cost_guard.max_burst_usd_per_hour": 60, "spillway:cost_guard.max_forecast_usd": 20_000}
    stack = settings(package, **ceiling)
    assert problems_between(stack, SITES_ONE) == []
    assert problems_with_package(stack, SITES_ONE, package.manifest) == []
    twisted = [problem.key for problem in problems_between(stack, (Metal("h100-8", 4, 3),))]
    assert "spillway:burst.metal.least" in twisted
    assert "spillway:cost_guard.max_burst_usd_per_hour" in twisted, "four of them cost more than the ceiling"
    dear = problems_between(settings(package, **{"spillway:cost_guard.prices": {}}), SITES_ONE)
    assert "h100-8" in next(problem.given for problem in dear if problem.key == "spillway:burst.metal.instance_type")
    slots = {"spillway:gateway.slots": {"metal": {"slots": 2}}}
    assert problems_between(settings(package, **ceiling, **slots), SITES_ONE) == []


def test_the_planner_sizes_it(package: Package) -> None:
    stack = settings(package)
    service = from_rates(2000.0, 50.0, slots=4, gpus_per_server=1, gpu=None)
    space = space_of(stack, SITES_ONE, service, dict(default_objectives()), None, PrivatePrice())
    (spec,) = space.burst
    assert (spec.site, spec.usd_per_hour, spec.servers, spec.scaling.cold_start_s) == ("metal", 16.0, 8, 1800)


def test_a_plan_writes_its_sizes_with_the_sites_own_words() -> None:
    part: dict[str, Any] = {}
    METAL.sized(part, "h100-8", 2, 5, METAL.scaling())
    assert part == {"instance_type": "h100-8", "least": 2, "most": 5}


@pytest.mark.heavy
def test_the_whole_program_deploys_it(package: Package) -> None:
    """Routing table, both gateways' keys, and functions that count it and hold it."""
    from stacks.hybrid import compose

    stack = settings(package)

    def deploy() -> None:
        names = ("kubeconfig", "gateway_operator_key", "drill_key")
        secrets = {name: pulumi.Output.secret(f"{name} of forty characters or more, as is due") for name in names}
        compose(stack, "test", package, secrets, ROOT, SITES_ONE)

    made = record(deploy, ANSWERS)

    (routing,) = [
        r.inputs["data"]["routing.json"]
        for r in of_type(made, "kubernetes:core/v1:ConfigMap")
        if "routing.json" in r.inputs.get("data", {})
    ]
    table = RoutingTable.model_validate_json(routing)
    assert [route.site for route in table.sites] == ["private", "metal"]
    # Servers that the autoscaler adds are used before anything spills.
    assert table.site("private").capacity == "addresses"
    functions = {r.inputs["name"].rsplit("-", 1)[1]: r.inputs for r in of_type(made, "aws:lambda/function:Function")}
    assert "tests/stacks/third_site/functions.py" in functions["signal"]["code"].assets
    variables = {name: function["environment"]["variables"] for name, function in functions.items()}

    config = CostConfig.from_environment(variables["signal"])
    (live,) = cost_signal.read_burst(config).capacity
    assert (live.site, live.instances, live.usd_per_hour, live.gpus) == ("metal", 2, 16.0, 8)
    closed = cutoff.State(closed=("P2", "P1"), scale_to_minimum=True)
    cutoff.hold_at_minimum(closed, CutoffConfig.from_environment(variables["cutoff"]))
    assert FLEETS == {"burst": 1}
    assert json.loads(variables["signal"][CostConfig.VARIABLE])["prices"]["h100-8"] == [16.0, 8]
