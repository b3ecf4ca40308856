"""IPv4 ranges."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, collapse_addresses, ip_network
from typing import Any, Final

ANYWHERE: Final = IPv4Network("0.0.0.0/0")


@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Network | None:
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        return None
    return found if isinstance(found, IPv4Network) else None


def ranges(values: Any) -> tuple[IPv4Network, ...]:
    """The IPv4 ranges among ``values``; anything else, unknown values included, is left out."""
    listed = [values] if isinstance(values, str) else values if isinstance(values, list | tuple) else []
    return tuple(found for value in listed if isinstance(value, str) and (found := _parsed(value)))


def covered(inner: IPv4Network, outer: Iterable[IPv4Network]) -> bool:
    """Whether every address of ``inner`` is in one of ``outer``, or in several together."""
    return any(inner.subnet_of(found) for found in collapse_addresses(outer))


def uncovered(inner: Iterable[IPv4Network], outer: Iterable[IPv4Network]) -> list[IPv4Network]:
    """Those of ``inner`` that are not wholly in ``outer``."""
    whole = list(collapse_addresses(outer))
    return [found for found in inner if not covered(found, whole)]


def told(found: Iterable[IPv4Network]) -> str:
    """In words."""
    return ", ".join(str(one) for one in found)
