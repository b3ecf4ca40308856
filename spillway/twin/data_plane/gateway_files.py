"""Moves a deployed gateway to this machine: addresses, ports and file paths, and nothing else of its config."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from spillway.contracts.answer_cache import AnswerCache, RedisTier
from spillway.contracts.credentials import AwsToken, BearerKey, ServerTls, SigV4
from spillway.contracts.routing import AgentCheck, RoutingTable, SiteRoute, canary_name
from spillway.runtime.gateway.certificate import write_certificate
from spillway.runtime.gateway.eds import write_missing_endpoints
from spillway.runtime.gateway.tokens import write_missing_tokens
from spillway.twin.data_plane.deployed import Gateway
from spillway.twin.data_plane.processes.relocate import Address, relocate

CUTOFF_POLL_S: Final = 1.0
"""Seconds between reads of the cut-off; the cloud's own setting is longer, to stay below its rate limits."""
USAGE_PERIOD_S: Final = 5.0
"""Seconds between two tellings of who answered: nothing is paid for here, and ``spillway status`` reads it."""
AGENT_POLL_S: Final = 1.0
"""Longest pause between the agent's probes of a burst site."""


@dataclass(frozen=True)
class GatewayPlace:
    """Where a gateway stands here. ``address``: the one that clients connect to; ``sites``: loopback port by site's
    name, or by that of its servers on trial."""

    folder: Path
    address: str
    port: int
    admin_port: int
    agent_port: int
    metrics_port: int
    usage_port: int
    relay_port: int
    inner_port: int
    traces_port: int
    cache_port: int
    redis_port: int
    sites: dict[str, int]
    authority: Path


@dataclass(frozen=True)
class PlacedGateway:
    """``envoy`` and ``routing``: the files to start Envoy and the agent with; ``azure``: the agent's variables."""

    envoy: Path
    routing: Path
    azure: dict[str, str]


def place(gateway: Gateway, here: GatewayPlace) -> PlacedGateway:
    """Write the gateway's files below ``here.folder``.

    Raises ``KeyError`` when the config names an address that no process of the twin stands for.
    """
    table = RoutingTable.model_validate_json(gateway.routing)
    # The agent fills this folder while Envoy watches it.
    (here.folder / "run" / "eds").mkdir(parents=True, exist_ok=True)
    files = _mounted_files(gateway, here) | _authorities(table, here)
    files[table.runtime_dir] = str(here.folder / "run")
    addresses = _addresses(table, here)
    envoy = relocate(yaml.safe_load(gateway.envoy), addresses, files)
    azure = {name: files.get(value, value) for name, value in gateway.azure.items()}
    placed = PlacedGateway(here.folder / "envoy.json", here.folder / "routing.json", azure)
    placed.envoy.write_text(json.dumps(envoy, indent=1))
    moved = _relocated_table(table, here, files)
    placed.routing.write_text(moved.model_dump_json(indent=1))
    # Envoy does not start without its endpoint files and tokens; the agent keeps them from then on.
    write_missing_endpoints(moved)
    write_missing_tokens(moved)
    write_certificate(moved)
    return placed


def _addresses(table: RoutingTable, here: GatewayPlace) -> dict[Address, Address]:
    listen = table.listen
    addresses: dict[Address, Address] = {
        (listen.address, listen.port): (here.address, here.port),
        (listen.address, listen.metrics_port): ("127.0.0.1", here.metrics_port),
        ("127.0.0.1", listen.admin_port): ("127.0.0.1", here.admin_port),
        ("127.0.0.1", listen.agent_port): ("127.0.0.1", here.agent_port),
        ("127.0.0.1", listen.usage_port): ("127.0.0.1", here.usage_port),
        ("127.0.0.1", listen.relay_port): ("127.0.0.1", here.relay_port),
        ("127.0.0.1", listen.inner_port): ("127.0.0.1", here.inner_port),
        ("127.0.0.1", listen.cache_port): ("127.0.0.1", here.cache_port),
    }
    if table.peers:
        # One process stands for all of them.
        addresses[table.peers.host, table.peers.port] = ("127.0.0.1", here.port)
    if table.traces:
        addresses[table.traces.host, table.traces.port] = ("127.0.0.1", here.traces_port)
    for route in table.sites:
        addresses[route.host, route.port] = ("127.0.0.1", here.sites[route.site])
        if route.canary:
            addresses[route.canary.host, route.port] = ("127.0.0.1", here.sites[canary_name(route.site)])
    return addresses


def _mounted_files(gateway: Gateway, here: GatewayPlace) -> dict[str, str]:
    moved = {}
    for path, content in gateway.files.items():
        target = here.folder / "mounted" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(content)
        moved[path] = str(target)
    return moved


def _authorities(table: RoutingTable, here: GatewayPlace) -> dict[str, str]:
    """The clouds' certificates come from the twin's own authority here."""
    return {route.tls.ca_file: str(here.authority) for route in table.sites if route.tls}


def _relocated_table(table: RoutingTable, here: GatewayPlace, files: dict[str, str]) -> RoutingTable:
    listen = table.listen.model_copy(
        update={
            "address": here.address,
            "port": here.port,
            "admin_port": here.admin_port,
            "agent_port": here.agent_port,
            "metrics_port": here.metrics_port,
            "usage_port": here.usage_port,
            "relay_port": here.relay_port,
            "inner_port": here.inner_port,
            "cache_port": here.cache_port,
            "tls": _relocated_tls(table.listen.tls, files),
        }
    )
    changes: dict[str, Any] = {
        "listen": listen,
        "runtime_dir": files[table.runtime_dir],
        "sites": tuple(_relocated_site(route, here, files) for route in table.sites),
    }
    if table.cache:
        changes["cache"] = _relocated_cache(table.cache, here)
    if table.usage:
        changes["usage"] = table.usage.model_copy(update={"period_s": min(table.usage.period_s, USAGE_PERIOD_S)})
    if table.cutoff:
        changes["cutoff"] = table.cutoff.model_copy(update={"poll_s": min(table.cutoff.poll_s, CUTOFF_POLL_S)})
    return table.model_copy(update=changes)


def _relocated_cache(cache: AnswerCache, here: GatewayPlace) -> AnswerCache:
    """S3 is found as every service of AWS is."""
    folder = cache.folder and cache.folder.model_copy(update={"path": str(here.folder / "answers")})
    return cache.model_copy(
        update={"redis": cache.redis and RedisTier(host="127.0.0.1", port=here.redis_port), "folder": folder}
    )


def _relocated_tls(tls: ServerTls | None, files: dict[str, str]) -> ServerTls | None:
    return tls and ServerTls(
        certificate_file=files.get(tls.certificate_file, tls.certificate_file),
        key_file=files.get(tls.key_file, tls.key_file),
    )


def _relocated_site(route: SiteRoute, here: GatewayPlace, files: dict[str, str]) -> SiteRoute:
    changes: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": here.sites[route.site],
        "host_header": route.authority,
        # One loopback address stands for all servers here; an endpoint says how many it has.
        "capacity": "fixed" if route.capacity == "addresses" else route.capacity,
    }
    if route.tls:
        changes["tls"] = route.tls.model_copy(update={"ca_file": files[route.tls.ca_file]})
    if isinstance(route.auth, BearerKey):
        changes["auth"] = route.auth.model_copy(
            update={"key_file": files.get(route.auth.key_file, route.auth.key_file)}
        )
    elif isinstance(route.auth, SigV4 | AwsToken) and route.auth.credentials_file:
        path = files.get(route.auth.credentials_file, route.auth.credentials_file)
        changes["auth"] = route.auth.model_copy(update={"credentials_file": path})
    if isinstance(route.health, AgentCheck):
        interval = min(route.health.interval_s, AGENT_POLL_S)
        changes["health"] = route.health.model_copy(update={"interval_s": interval})
    return route.model_copy(update=changes)
