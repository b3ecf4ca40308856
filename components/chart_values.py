"""Values of Helm charts: laid over one another as Helm does it, and with their images from a mirror."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from components.connectivity.settings import MirrorSettings


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Chart values as Helm merges them: maps by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def at(path: str, value: Any) -> dict[str, Any]:
    """Values with one key, e.g. ``grafana.image.registry``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


Form = Literal["name", "names", "reference", "references"]
"""How a chart wants to be told of a pull secret: by name, as ``{name: …}``, or as a list of either."""


def pulled(secret: str | None, paths: Mapping[str, Form]) -> dict[str, Any]:
    """Values that name a pull secret. ``paths``: where the chart takes it, and in which form."""
    values: dict[str, Any] = {}
    for path, form in paths.items() if secret else ():
        one = {"name": secret} if form.startswith("reference") else secret
        values = merged(values, at(path, [one] if form.endswith("s") else one))
    return values


def mirrored(mirror: MirrorSettings, images: Mapping[str, str]) -> dict[str, Any]:
    """Values that name the mirror's images. ``images``: by path, what the chart takes by itself."""
    values: dict[str, Any] = {}
    for path, image in images.items():
        if (found := mirror.image(image)) != image:
            values = merged(values, at(path, found))
    return values
