"""The files from which Envoy takes the outer clusters' endpoints, and with them which site is open to which class."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spillway.contracts.classes import RequestClass, SiteName
from spillway.contracts.routing import Endpoint, Group, RoutingTable, listener_name

IsOpen = Callable[[SiteName, RequestClass], bool]
"""Whether a site takes requests of a class now."""


def endpoint_files(table: RoutingTable, is_open: IsOpen) -> dict[Path, str]:
    """Every EDS file of the gateway and its text: one priority a try, a closed site's endpoints marked unhealthy."""
    folder = Path(table.runtime_dir) / "eds"
    tries = {group: table.endpoints(group) for group in table.groups()}
    tries |= {table.second_chance(group): table.second_tries(group) for group in table.groups()}
    return {folder / f"{group.name}.json": _response(group, found, is_open) for group, found in tries.items()}


def write_endpoints(table: RoutingTable, is_open: IsOpen) -> int:
    """Bring the files up to date, each by one rename. Returns how many changed."""
    changed = 0
    for path, text in endpoint_files(table, is_open).items():
        if not path.exists() or path.read_text() != text:
            write_atomically(path, text)
            changed += 1
    return changed


def write_missing_endpoints(table: RoutingTable) -> None:
    """Write those files that are not there, every site open: Envoy does not start without them."""
    for path, text in endpoint_files(table, lambda site, request_class: True).items():
        if not path.exists():
            write_atomically(path, text)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write beside the target, then rename: a reader sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    os.replace(temporary, path)


def _response(group: Group, endpoints: Sequence[Endpoint], is_open: IsOpen) -> str:
    tries = [
        _locality(priority, endpoint, is_open(endpoint.site, group.request_class))
        for priority, endpoint in enumerate(endpoints)
    ]
    assignment = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": group.name,
        "endpoints": tries,
    }
    return json.dumps({"resources": [assignment]}, indent=1)


def _locality(priority: int, endpoint: Endpoint, open_: bool) -> dict[str, Any]:
    listener = listener_name(endpoint.site, endpoint.gate)
    address = {"envoy_internal_address": {"server_listener_name": listener, "endpoint_id": str(priority)}}
    return {
        "priority": priority,
        "lb_endpoints": [{"endpoint": {"address": address}, "health_status": "HEALTHY" if open_ else "UNHEALTHY"}],
    }
