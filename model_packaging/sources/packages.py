"""Models that an installed Python package carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from model_packaging.errors import ModelConfigError
from model_packaging.sources.model import Place


def package_folder(package: str, mend: str) -> Path:
    """The folder of an installed package, found without importing it. Raises :class:`ModelConfigError`."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelConfigError(f"The Python package {package} is not installed: {mend}.")
    return Path(next(iter(spec.submodule_search_locations)))


def model_file(place: Place, path: Path, package: str | None, endings: tuple[str, ...]) -> Path:
    """A source's file: relative to model.yaml, or inside an installed package. Raises :class:`ModelConfigError`."""
    if path.suffix not in endings:
        raise ModelConfigError(f"source.path: {path}: expected a file that ends in {' or '.join(endings)}.")
    folder = package_folder(package, f"pip install the package that holds {path}") if package else place.base_dir
    file = (folder / path).resolve()
    if not file.is_file():
        raise ModelConfigError(f"source.path: {file}: no such file.")
    return file
