"""``model.yaml``: read, and checked by the packager of its kind of model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import TypeAdapter, ValidationError

from model_packaging.errors import ModelConfigError
from model_packaging.language.packager import LANGUAGE
from model_packaging.packager import PackageConfig, Packager
from model_packaging.tensors.packager import TENSORS
from spillway.contracts.problems import Problem, nearest
from spillway.contracts.pulumi_yaml import PulumiYamlError, lines_of, load
from spillway.contracts.validation import Names, place, problems_of

PACKAGERS: Final[tuple[Packager[Any, Any], ...]] = (TENSORS, LANGUAGE)
"""The first one's errors are those of a file whose ``source.kind`` no packager knows."""


_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"


def packager_of(config: PackageConfig) -> Packager[Any, Any]:
    """The packager whose settings these are."""
    return next(packager for packager in PACKAGERS if isinstance(config, packager.settings))


def load_config(path: Path | str) -> PackageConfig:
    """Read ``model.yaml``. Raises :class:`ModelConfigError`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values, lines = load(text), lines_of(text)
    except FileNotFoundError:
        raise ModelConfigError(
            f"{path}: no such file. Start from model_packaging/examples/minilm/model.yaml."
        ) from None
    except (OSError, UnicodeDecodeError, PulumiYamlError) as error:
        raise ModelConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ModelConfigError(f"{path}: expected keys and values at the top, got {type(values).__name__}.")
    if "base_dir" in values:
        raise ModelConfigError(f"{path}: base_dir: unknown key; remove it.")
    return parse_config(values, base_dir=path.resolve().parent, name=str(path), lines=lines)


def parse_config(
    values: dict[str, Any], *, base_dir: Path, name: str = "model.yaml", lines: Mapping[str, int] | None = None
) -> PackageConfig:
    """The same from values. Raises :class:`ModelConfigError` that names every key at fault. ``lines``: of the keys.

    ``source.kind`` says which kind of model it is: each packager has settings of its own.
    """
    source = values.get("source")
    kind = source.get("kind") if isinstance(source, dict) else None
    packager = next((one for one in PACKAGERS if kind in _kinds(one.settings)), PACKAGERS[0])
    try:
        return packager.settings.model_validate({**values, "base_dir": base_dir})
    except ValidationError as error:
        found = [
            _of_any_packager(one) if one.key == "source.kind" else one
            for one in problems_of(error, packager.settings, Names(unsaid=("base_dir",)))
        ]
        said = "\n".join(f"{name}: {one.key}{place(one.key, lines or {})}: {one.said}." for one in found)
        raise ModelConfigError(f"{said}\nSee docs/how-to/your-own-model.md.") from None


def _of_any_packager(problem: Problem) -> Problem:
    """What ``source.kind`` may be, whichever packager takes it."""
    kinds = [kind for packager in PACKAGERS for kind in _kinds(packager.settings)]
    return replace(problem, advice=f"{nearest(problem.given, kinds)}allowed: {', '.join(kinds)}")


def schema_text() -> str:
    """JSON Schema of a ``model.yaml``, for editors."""
    files: Any = reduce(or_, (packager.settings for packager in PACKAGERS))
    schema = TypeAdapter(files).json_schema()
    for one in schema["$defs"].values():
        # Where the file lies is told by its place.
        one.get("properties", {}).pop("base_dir", None)
        one["required"] = [name for name in one.get("required", ()) if name != "base_dir"]
    return json.dumps({"$schema": _SCHEMA, **schema}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _kinds(settings: type[PackageConfig]) -> list[str]:
    """What ``source.kind`` may be in such a file."""
    sources = get_args(settings.model_fields["source"].annotation)
    return [kind for source in sources for kind in get_args(source.model_fields["kind"].annotation)]
