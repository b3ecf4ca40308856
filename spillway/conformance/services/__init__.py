"""Whether each service would accept what it is asked for, resource by resource."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Final

from spillway.conformance.rule import Rule


def _rules() -> Iterator[Rule]:
    """Those of every module here: a service's rules are added as a file, and no other is edited."""
    for module in walk_packages(__path__, f"{__name__}."):
        yield from getattr(import_module(module.name), "RULES", ())


RULES: Final[tuple[Rule, ...]] = tuple(_rules())
