"""A gateway's way to an Azure ML endpoint without a key: the agent's own code against both stand-ins, and the front.

What Azure ML refuses: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints (401 for
no permission, an expired token and a wrong one alike).
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from spillway.contracts.azure_calls import (
    ACTIONS,
    CLIENT_VARIABLE,
    SCORING_AUDIENCE,
    TENANT_VARIABLE,
    TOKEN_AUDIENCE,
    TOKEN_FILE_VARIABLE,
)
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.credentials import EntraToken
from spillway.contracts.routing import RoutingTable
from spillway.runtime.functions import azure as azure_api
from spillway.runtime.gateway import aws as gateway_aws
from spillway.runtime.gateway.agent import Agent
from spillway.runtime.gateway.entra_token import EntraRefusedError, EntraTokenMaker
from spillway.runtime.gateway.tokens import NOT_YET, read_token
from spillway.twin.azure.account import TENANT_ID
from spillway.twin.azure.client import ArmRefusalError
from spillway.twin.data_plane.processes.aws_signatures import RefusalError
from spillway.twin.data_plane.processes.burst_front import Callers
from spillway.twin.tokens import Signer, claims_of
from tests.twin.test_federation import GROUP, Clouds, clouds, servers

__all__ = ["clouds", "servers"]

ML = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/scores"
ENDPOINT = f"{ML}/onlineEndpoints/spill"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
API = "2024-10-01"
ACCOUNT = "system:serviceaccount:spillway-gateway:gateway"


@pytest.fixture
def scoring(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> Clouds:
    """An endpoint that takes tokens, the identity may score there, and this process is a gateway."""
    monkeypatch.setenv(TENANT_VARIABLE, TENANT_ID)
    monkeypatch.setenv(CLIENT_VARIABLE, clouds.identity.client_id)
    gateway_aws.client.cache_clear()
    clouds.arm.put(ML, API, {"location": "eastus", "identity": {"type": "SystemAssigned"}, "properties": {}})
    endpoint = {"authMode": "AADToken", "publicNetworkAccess": "Enabled"}
    clouds.arm.put(ENDPOINT, API, {"location": "eastus", "kind": "Managed", "properties": endpoint})
    clouds.permit(ACTIONS["gateway"], ENDPOINT)
    return clouds


AUTH = EntraToken(audience=SCORING_AUDIENCE)


def front(clouds: Clouds) -> Callers:
    """As the twin tells the front who may call."""
    with urllib.request.urlopen(f"{clouds.azure}/_spillway/callers{ENDPOINT}", timeout=10) as answer:
        return Callers.model_validate_json(answer.read())


def test_a_gateway_scores_by_its_role(scoring: Clouds) -> None:
    token = EntraTokenMaker(AUTH).make()
    front(scoring).admit(token)
    claims = claims_of(token)
    assert (claims["aud"], claims["oid"], claims["tid"]) == (SCORING_AUDIENCE, scoring.principal, TENANT_ID)
    assert 3600 <= claims["exp"] - claims["iat"] + 1 <= 90 * 60


def changed(**claims: Any) -> str:
    """A token with other claims, signed by Entra's key, as only Entra could."""
    said = claims_of(EntraTokenMaker(AUTH).make()) | claims
    return SIGNER.sign(said)


SIGNER = Signer("entra")
BAD: dict[str, tuple[Callable[[Clouds], str], str]] = {
    "a key": (lambda clouds: "primary-key", "wrong format"),
    "none yet": (lambda clouds: NOT_YET, "wrong format"),
    "Resource Manager's": (lambda clouds: azure_api.token(clouds.identity), "is for https://management.azure.com"),
    "somebody's own": (lambda clouds: Signer("mine").sign({"aud": SCORING_AUDIENCE}), "none of the issuer's keys"),
    "expired": (lambda clouds: changed(exp=time.time() - 1), "expired"),
    "another tenant's": (lambda clouds: changed(tid="0"), "not for this endpoint"),
    "another's": (lambda clouds: changed(oid="0"), "permission"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_endpoint_takes_nothing_else(scoring: Clouds, name: str) -> None:
    made, words = BAD[name]
    known = front(scoring)
    both = known.model_copy(update={"keys": {"keys": known.keys["keys"] + SIGNER.keys["keys"]}})
    with pytest.raises(RefusalError, match=words) as refused:
        both.admit(made(scoring))
    assert refused.value.status == 401


def test_a_token_for_scoring_opens_nothing_else(scoring: Clouds) -> None:
    token = EntraTokenMaker(AUTH).make()
    request = urllib.request.Request(scoring.azure + ENDPOINT + f"?api-version={API}")
    request.add_header("Authorization", f"Bearer {token}")
    with pytest.raises(OSError, match="401") as refused:
        urllib.request.urlopen(request, timeout=10)
    assert b"wrong audience" in refused.value.read()  # pyright: ignore[reportAttributeAccessIssue]


def test_whoever_has_no_role_does_not_score(scoring: Clouds) -> None:
    scoring.permit(ACTIONS["cost signal"], ENDPOINT)
    with pytest.raises(RefusalError, match="permission"):
        front(scoring).admit(EntraTokenMaker(AUTH).make())


def test_an_endpoint_that_takes_tokens_has_no_keys(scoring: Clouds) -> None:
    with pytest.raises(ArmRefusalError, match="has no keys"):
        scoring.arm.post(f"{ENDPOINT}/listKeys", API)


def test_entra_knows_no_other_audience(scoring: Clouds) -> None:
    other = EntraToken(audience="https://elsewhere.example")
    with pytest.raises(EntraRefusedError, match=r"^400 AADSTS500011$"):
        EntraTokenMaker(other).make()


def table(folder: Path) -> RoutingTable:
    site = {"port": 1, "region": "r", "slots": 1}
    private = {"site": "private", "host": "h", "health": {"kind": "active"}, **site}
    burst = {"site": "azure_ml", "host": "h", "health": {"kind": "agent"}, "auth": AUTH.model_dump(), **site}
    probe = {"path": "/", "body": "{}"}
    given = {"model": "m", "runtime_dir": str(folder), "probe": probe, "sites": [private, burst]}
    return RoutingTable.model_validate(given)


def test_in_aks_the_clusters_own_word_is_enough(
    scoring: Clouds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS may be gone. Until there is a token nobody is sent to the site, and the last one stays."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    pool = {"name": "system", "mode": "System", "count": 1, "vmSize": "Standard_D4s_v5"}
    aks = {"dnsPrefix": "c", "agentPoolProfiles": [pool], "oidcIssuerProfile": {"enabled": True}}
    identity = {"type": "SystemAssigned"}
    made = scoring.arm.put(CLUSTER, "2025-09-01", {"location": "eastus", "identity": identity, "properties": aks})
    file = tmp_path / "token"
    file.write_text(cluster_token(scoring))
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(file))
    routes = table(tmp_path)
    agent = Agent(routes)
    asyncio.run(agent.prepare())
    assert not agent.is_open(Site.AZURE_ML, RequestClass.P0)
    assert agent.is_open(Site.PRIVATE, RequestClass.P0)

    issuer = made["properties"]["oidcIssuerProfile"]["issuerURL"]
    scoring.trust(issuer=issuer, subject=ACCOUNT)
    asyncio.run(agent.prepare())
    assert agent.is_open(Site.AZURE_ML, RequestClass.P0)
    token = read_token(Path(routes.token_path(Site.AZURE_ML)))
    front(scoring).admit(token)

    scoring.trust(issuer=issuer, subject=f"{ACCOUNT}-of-another")
    asyncio.run(agent.prepare())
    assert agent.is_open(Site.AZURE_ML, RequestClass.P0)
    assert read_token(Path(routes.token_path(Site.AZURE_ML))) == token


def cluster_token(clouds: Clouds) -> str:
    query = f"subject={quote(ACCOUNT)}&audience={quote(TOKEN_AUDIENCE)}"
    with urllib.request.urlopen(f"{clouds.azure}/_spillway/aks/token?{query}", timeout=10) as answer:
        return json.load(answer)["token"]
