"""Another place for a stack in Azure: a landing zone's network. AKS in its own: ``test_azure_life.py``."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from components.connectivity.azure_settings import PRIVATE_ZONES
from policies.catalogue import ALL
from policies.judge import judge
from policies.resources import Context
from spillway.twin.deployer.api import UpResult
from spillway.twin.deployer.policy import plain_resources
from stacks.stack_file import read_settings
from tests.program.site import Site, site
from tests.stacks.files import changed, flat, secrets_for

pytestmark = [pytest.mark.heavy, pytest.mark.soak]

S = "spillway:"
HUB = f"/subscriptions/{'9' * 8}-0000-4000-8000-{'9' * 12}/resourceGroups/landing/providers/Microsoft.Network"
SUBNETS = {name: f"{HUB}/virtualNetworks/spoke/subnets/{name}" for name in ("nodes", "endpoints", "courier")}
CENTRAL = {name: f"{HUB}/privateDnsZones/{zone}" for name, zone in PRIVATE_ZONES.items()}
OWNED = ("network:", "privatedns:")
"""Modules of Azure whose resources are the landing zone's affair."""
QUESTIONS = [policy for policy in ALL if policy.name in ("services-accept", "changes-go-through", "flows-open")]
LANDED = {
    f"{S}connectivity.deployer": "own_network",
    f"{S}connectivity.deployer_cidrs": [],
    f"{S}connectivity.azure_network": {"existing_subnets": SUBNETS},
    f"{S}private_cluster.outbound": "userDefinedRouting",
}


def landing_zone(endpoint: str) -> None:
    """What the platform team has made: a network whose subnets are routed to its firewall."""
    group = HUB.partition("/providers/")[0]
    routes = f"{HUB}/routeTables/firewall"
    place = {"location": "eastus"}
    subnets = [
        {"name": name, "properties": {"addressPrefix": f"10.50.{i}.0/24", "routeTable": {"id": routes}}}
        for i, name in enumerate(SUBNETS)
    ]
    space = {"addressSpace": {"addressPrefixes": ["10.50.0.0/16"]}, "subnets": subnets}
    for path, version, body in (
        (group, "2025-04-01", place),
        (routes, "2025-05-01", place),
        (f"{HUB}/virtualNetworks/spoke", "2025-05-01", {**place, "properties": space}),
    ):
        url = f"{endpoint}{path}?api-version={version}"
        asked = urllib.request.Request(url, data=json.dumps(body).encode(), method="PUT")
        urllib.request.urlopen(asked, timeout=10).close()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = site(tmp_path_factory.mktemp("places"), "dev")
    try:
        yield made
    finally:
        made.servers.stop()


def up(made: Site, changes: dict[str, Any]) -> UpResult:
    """Brought up without a finding outside AWS; a second ``up`` would change nothing."""
    whole = {**changes, **secrets_for(changed(made.config, changes))}
    deployer = made.changed_to(whole)
    done = deployer.up()
    verdict = judge(
        plain_resources(done.resources), read_settings(flat(changed(made.config, whole))).policies, Context(), QUESTIONS
    )
    azure = [
        v.finding for v in verdict.violations if v.finding.resource and not v.finding.resource.type.startswith("aws:")
    ]
    assert [(finding.rule, finding.message) for finding in azure] == []
    assert {step.op for step in deployer.preview().steps} <= {"same", "read"}
    deployer.destroy()
    return done


@pytest.mark.parametrize(
    ("zones", "own"),
    [
        ({"zones": "policy"}, {"network:PrivateEndpoint"}),
        ({"zones": "central", "zone_ids": CENTRAL}, {"network:PrivateEndpoint", "network:PrivateDnsZoneGroup"}),
    ],
)
def test_a_landing_zones_network_is_used_and_not_planned(dev: Site, zones: dict[str, Any], own: set[str]) -> None:
    landing_zone(dev.servers.endpoints["azure"])
    network = f"{S}connectivity.azure_network"
    done = up(dev, {**LANDED, network: {**LANDED[network], **zones}})
    made = [resource.type.removeprefix("azure-native:") for resource in done.resources]
    assert {type_ for type_ in made if type_.startswith(OWNED)} == own
