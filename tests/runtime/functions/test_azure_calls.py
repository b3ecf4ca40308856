"""The table of calls to Azure against the calls that the functions and gateways make: no more, no fewer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from spillway.contracts.azure_calls import ACTIONS, Caller
from spillway.runtime.functions import azure, azure_ml, traffic_switch
from tests.support.paths import ROOT

GROUP = "https://management.azure.com/subscriptions/s/resourceGroups/g/providers"
DEPLOYMENT = f"{GROUP}/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e/deployments/blue?api-version=1"
AUTOSCALE = f"{GROUP}/Microsoft.Insights/autoscaleSettings/a?api-version=1"
PROFILE = f"{GROUP}/Microsoft.Network/trafficManagerProfiles/p/externalEndpoints/private?api-version=1"
MACHINES = {"url": DEPLOYMENT, "count": ["sku", "capacity"], "size": ["properties", "instanceType"]}
WHO = {"tenant_id": "t", "client_id": "c"}
HELD = {"identity": WHO, "deployment_url": DEPLOYMENT, "autoscale_url": AUTOSCALE}
LIVE = {
    "sku": {"capacity": 3},
    "properties": {"instanceType": "x", "enabled": True, "profiles": [], "endpointStatus": "Enabled"},
}


def _hold() -> None:
    azure_ml.hold(HELD, 1, True, "token")
    azure_ml.hold(HELD, 1, False, "token")


CALLS: dict[Caller, Callable[[], object]] = {
    "cost signal": lambda: azure_ml.read({"identity": WHO, "machines": [MACHINES]}, "token"),
    "cut-off": _hold,
    "traffic switch": lambda: traffic_switch.switch(PROFILE, "Disabled", "token"),
}


def action(url: str, body: Any) -> str:
    """Resource Manager's rule: the type of what is called, then read for a GET and write for a PATCH."""
    namespace, *rest = url.partition("?")[0].rpartition("/providers/")[2].split("/")
    kind = "/".join([namespace, *rest[::2]])
    return f"{kind}/{'read' if body is None else 'write'}"


@pytest.mark.parametrize("caller", CALLS)
def test_a_caller_needs_these_actions(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[str] = set()

    def call(url: str, bearer: str, body: Any = None) -> Any:
        made.add(action(url, body))
        return LIVE

    monkeypatch.setattr(azure, "call", call)
    CALLS[caller]()
    assert made == set(ACTIONS[caller])


def test_every_caller_of_azure_is_in_the_table() -> None:
    """Whoever imports the client of Resource Manager calls it."""
    folder = ROOT / "spillway" / "runtime" / "functions"
    users = {path.stem for path in folder.glob("*.py") if re.search(r"import azure$", path.read_text(), re.MULTILINE)}
    assert users == {"azure_ml", "traffic_switch"}
    assert CALLS.keys() | {"gateway"} == ACTIONS.keys()


def test_a_gateway_scores_and_does_nothing_else() -> None:
    """https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online-auth: whoever invokes a managed
    endpoint with a token needs this action on the scope of the endpoint."""
    assert ACTIONS["gateway"] == ("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action",)
