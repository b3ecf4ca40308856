"""Reads a checkpoint (Pulumi's deployment format 3, as `pulumi stack export` writes it) as resources to judge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spillway.contracts.resources import UNKNOWN, Resource, waited_for

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
"""Pulumi's marks of a special value and of a secret: pulumi/pulumi, sdk/go/common/resource/sig/sig.go."""


def read_checkpoint(path: Path) -> list[Resource]:
    """The resources of a checkpoint on disk. Raises ``ValueError`` where it is none."""
    try:
        return resources_of(json.loads(path.read_text(encoding="utf-8")))
    except (AttributeError, KeyError) as error:
        raise ValueError(f"no checkpoint: {error}") from None


def resources_of(checkpoint: Mapping[str, Any]) -> list[Resource]:
    """The resources of a checkpoint. Secrets are ``UNKNOWN``; ``clear`` holds inputs and outputs without them.

    Raises ``ValueError`` where this is no checkpoint.
    """
    deployment = checkpoint.get("deployment")
    if not isinstance(deployment, Mapping):
        raise ValueError("no checkpoint: it has no `deployment`; make one with `pulumi stack export`")
    states = [state for state in deployment.get("resources") or () if not state.get("delete")]
    regions = {state["urn"]: str((state.get("inputs") or {}).get("region") or "") for state in states}
    around = {
        state["urn"]: (str(state.get("parent") or ""), state.get("dependencies") or ())
        for state in states
        if not state.get("custom")
    }
    return [
        _resource(state, regions, waited_for(str(state.get("parent") or ""), around))
        for state in states
        if state.get("custom")
    ]


def _resource(state: Mapping[str, Any], regions: Mapping[str, str], after: frozenset[str]) -> Resource:
    inputs, outputs = (_without_secrets(state.get(key) or {}) for key in ("inputs", "outputs"))
    provider = str(state.get("provider") or "").rpartition("::")[0]
    return Resource(
        type=state["type"],
        name=str(state["urn"]).rpartition("::")[2],
        urn=state["urn"],
        props=inputs,
        id=state.get("id"),
        protect=bool(state.get("protect")),
        parent=str(state.get("parent") or ""),
        dependencies=frozenset(state.get("dependencies") or ()),
        region=regions.get(provider, ""),
        clear={"inputs": inputs, "outputs": outputs},
        outputs=outputs,
        provider=provider,
        after=after,
        deleted_with=str(state.get("deletedWith") or ""),
        retain_on_delete=bool(state.get("retainOnDelete")),
        ignore_changes=tuple(state.get("ignoreChanges") or ()),
    )


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET:
            return UNKNOWN
        return {key: _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
