"""What Pulumi's Python SDK works out for engines that no longer exist, left out."""

from __future__ import annotations

from typing import Any

import pulumi.resource


def leave_alias_urns_to_the_engine() -> None:
    """Every azure-native resource names its types in all API versions as aliases, some twenty each.

    The SDK works each out into a URN, for engines before 3.47 (2022): later ones get the aliases as they are
    (``ALIAS_SPECS``) and do so themselves. Those URNs, which nobody reads, are nine tenths of an Azure component's
    time in the program.
    """
    pulumi.resource.collapse_alias_to_urn = _as_it_is  # pyright: ignore[reportPrivateImportUsage]


def _as_it_is(alias: Any, *_: object) -> Any:
    return alias
