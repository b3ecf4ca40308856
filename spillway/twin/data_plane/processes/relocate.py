"""Moves a rendered Envoy bootstrap to this machine: other addresses, other files, nothing else."""

from __future__ import annotations

from typing import Any

Address = tuple[str, int]

FILE_KEYS = frozenset({"filename", "path"})
"""Keys under which Envoy names files. HTTP paths stand under ``path`` too, so only known files are replaced."""


def relocate(config: dict[str, Any], addresses: dict[Address, Address], files: dict[str, str]) -> dict[str, Any]:
    """A copy of a bootstrap with every ``socket_address`` looked up in ``addresses`` and known files replaced.

    A key of ``files`` that names a folder moves everything below it.

    Raises ``KeyError`` for an address that is not in ``addresses``: a twin must not talk to the outside by oversight.
    """
    return {key: _moved(key, value, addresses, files) for key, value in config.items()}


def _moved(key: str, value: Any, addresses: dict[Address, Address], files: dict[str, str]) -> Any:
    if key == "socket_address":
        host, port = addresses[value["address"], value["port_value"]]
        return {**value, "address": host, "port_value": port}
    if isinstance(value, dict):
        return relocate(value, addresses, files)
    if isinstance(value, list):
        return [_moved("", item, addresses, files) for item in value]
    if isinstance(value, str) and key in FILE_KEYS:
        return _moved_file(value, files)
    return value


def _moved_file(path: str, files: dict[str, str]) -> str:
    for old in sorted(files, key=len, reverse=True):
        if path == old or path.startswith(old.rstrip("/") + "/"):
            return files[old] + path[len(old) :]
    return path
