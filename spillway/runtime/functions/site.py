"""What the cost signal and the cut-off ask of a burst site. One module a site answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast


class CapacityError(RuntimeError):
    """Live capacity could not be read."""


@dataclass(frozen=True)
class Live:
    """Instances of one type that run now.

    ``percent``: of the site's requests that they answer, where gateways follow their number and cannot ask for it
    themselves. ``settled``: whether all of them serve, none just coming or going.
    """

    instance_type: str
    instances: int
    percent: int = 0
    settled: bool = True


class SiteApi(Protocol):
    """A module of this folder, named for its site. ``asked`` has the shape that the site itself has chosen."""

    def read(self, asked: Mapping[str, Any]) -> list[Live]:
        """Every instance that runs, by the type that it really has. Raises :class:`CapacityError` where the site does
        not say, and ``OSError`` or the cloud's own error where it cannot be asked."""
        ...

    def hold(self, asked: Mapping[str, Any], minimum: int, held: bool) -> None:
        """Bring one target to ``minimum`` instances and keep it from growing, or let it grow again. Nothing is changed
        that is so already, and bounds stay as they are: the next deployment has nothing to reset."""
        ...


def site_api(module: str) -> SiteApi:
    """The module of this name."""
    return cast("SiteApi", import_module(module))
