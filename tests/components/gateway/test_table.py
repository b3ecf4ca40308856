"""The routing table, its settings, and what they render to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from components.burst.sagemaker.route import paths
from components.gateway.envoy_config import render
from components.gateway.settings import AnonymousSettings, ClientSettings, GatewaySettings, StandbySettings
from components.gateway.table import build_table
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.connections import Connections
from spillway.contracts.routing import Gate, RoutingTable, hash_key
from spillway.twin.data_plane.processes.relocate import relocate
from tests.support.gateway_rig import AZURE_KEY, OPERATOR_KEY, SECRET_KEY, Rig


@pytest.fixture
def table(tmp_path: Path) -> RoutingTable:
    return Rig(tmp_path).table


def test_json_round_trip(table: RoutingTable) -> None:
    assert RoutingTable.model_validate_json(table.model_dump_json()) == table


def test_standby_has_no_private_site_and_no_heartbeat(table: RoutingTable) -> None:
    standby = table.model_copy(update={"replicas": 3}).standby(2)
    assert standby.replicas == 2, "its own processes share the slots, not the private gateway's"
    assert [s.site for s in standby.sites] == [Site.SAGEMAKER, Site.AZURE_ML]
    assert standby.heartbeat is None
    assert "private-open" not in json.dumps(render(standby))


def test_limits_are_divided_by_replicas_and_never_zero(table: RoutingTable) -> None:
    site = table.site(Site.PRIVATE).model_copy(update={"slots": 9, "batch_slots": 3, "headroom": 0})
    three = table.model_copy(update={"replicas": 4})
    assert three.limits(site) == {Gate.BATCH: 1, Gate.INTERACTIVE: 2, Gate.OPEN: 2}


def test_groups_follow_class_client_and_model(table: RoutingTable) -> None:
    assert table.allowed_sites(RequestClass.P1, "never") == (Site.PRIVATE,)
    assert table.allowed_sites(RequestClass.P1, ("eu-west-1",)) == (Site.PRIVATE, Site.SAGEMAKER)
    bound = table.model_copy(update={"model_may_spill": "never"})
    assert {g.sites for g in bound.groups()} == {(Site.PRIVATE,)}
    assert bound.standby(1).groups() == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sites": lambda t: t.sites[::-1]}, "spill order"),
        ({"classes": lambda t: t.classes[:2]}, "P0, P1 and P2"),
        ({"clients": lambda t: t.clients[:1] * 2}, "two clients"),
        ({"probe": lambda t: None}, "probe is missing"),
        ({"operator_key_sha256": lambda t: "open-sesame"}, "String should match"),
    ],
)
def test_inconsistent_tables_are_refused(table: RoutingTable, change: dict, says: str) -> None:
    values = {**table.model_dump(), **{key: change[key](table) for key in change}}
    with pytest.raises(ValidationError, match=says):
        RoutingTable.model_validate(values)


def test_rendering_is_pure_yaml_without_secrets(table: RoutingTable) -> None:
    text = yaml.safe_dump(render(table))
    assert text == yaml.safe_dump(render(table))
    for secret in (AZURE_KEY, SECRET_KEY, OPERATOR_KEY):
        assert secret not in text
    assert hash_key(OPERATOR_KEY) in text


def test_relocate_moves_addresses_and_files_and_nothing_else(table: RoutingTable) -> None:
    config = render(table)
    listen = table.listen
    ports = (listen.port, listen.admin_port, listen.agent_port, listen.metrics_port, listen.usage_port)
    ports += (listen.relay_port, listen.inner_port, listen.cache_port)
    known = [("127.0.0.1", port) for port in ports]
    known += [(s.host, s.port) for s in table.sites]
    moved = {address: ("127.0.0.1", 20000 + index) for index, address in enumerate(known)}
    folder = str(Path(table.runtime_dir).parent)
    text = json.dumps(relocate(config, moved, {folder: "/elsewhere"}))
    assert folder not in text
    assert '"path": "/v2/health/ready"' in text
    assert not any(f'"port_value": {port}' in text for _, port in known)
    assert "/elsewhere/run/eds" in text
    with pytest.raises(KeyError):
        relocate(config, {}, {})


def test_table_from_settings(table: RoutingTable) -> None:
    settings = GatewaySettings.model_validate(
        {
            "replicas": 3,
            "clients": [{"name": "shop", "key_secret": "shop_key", "max_class": "P0", "may_spill": ["eu-west-1"]}],
            "anonymous": None,
            "slots": {"private": {"slots": 12, "batch_slots": 4}},
            "connections": {"max_connections": 7, "max_streams": 3, "age_s": None},
            "resources": {"memory": "2Gi"},
        }
    )
    built = build_table(
        settings,
        model="m",
        server="triton",
        sites=table.sites,
        client_hashes={"shop": hash_key("key")},
        operator_hash=None,
        probe=table.probe,  # pyright: ignore[reportArgumentType]
        cutoff=None,
        heartbeat=None,
    )
    assert built.clients[0].max_class is RequestClass.P0
    assert built.anonymous is None
    assert built.site(Site.PRIVATE).slots == 12
    assert built.site(Site.SAGEMAKER).slots == table.site(Site.SAGEMAKER).slots
    assert built.limits(built.site(Site.PRIVATE))[Gate.INTERACTIVE] == 4
    assert built.connections == Connections(most=7, streams=3, age_s=None, memory_bytes=2 << 30)
    _, heap = render(built)["overload_manager"]["resource_monitors"]
    assert heap["typed_config"]["max_heap_size_bytes"] < 2 << 30
    assert paths("triton", "m", "ep")[0].upstream == "/endpoints/ep/invocations"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"replicas": 0}, "greater than or equal to 1"),
        ({"replicas": 9}, "max_replicas"),
        ({"standby": {"cpu": 256, "memory": 8192}}, "Fargate has no 8192 MiB with cpu 256: give 512 to 2048"),
        ({"clients": [{"name": "a", "key_secret": "k"}, {"name": "b", "key_secret": "k"}]}, "give each its own"),
        ({"clients": [{"name": "a"}]}, "client a has no key_secret: give it one, or give tokens"),
        ({"tokens": {"issuer": "i", "audiences": ["a"], "jwks_url": "http://i/keys"}}, "String should match"),
        ({"tokens": {"issuer": "i", "audiences": [], "jwks_url": "https://i/keys"}}, "at least 1 item"),
        ({"classes": {"p0": {"try_timeout_s": 3, "timeout_s": 2}}}, "lower it"),
        ({"classes": {"p0": {"try_timeout_s": 1, "timeout_s": 2, "spill_to": ["private"]}}}, "burst sites only"),
        ({"slots": {"private": {"slots": 2, "batch_slots": 3}}}, "at most 2"),
        ({"heartbeat_period_s": 60}, "less than or equal to 30"),
        ({"colour": "blue"}, "Extra inputs"),
        ({"image": "envoy"}, "String should match"),
    ],
)
def test_wrong_settings_say_how_to_mend_them(given: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GatewaySettings.model_validate(given)


def test_every_setting_is_explained() -> None:
    for model in (GatewaySettings, ClientSettings, AnonymousSettings, StandbySettings):
        assert [name for name, f in model.model_fields.items() if not f.description] == []
