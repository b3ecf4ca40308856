"""Samples in a file: named model inputs as one ``.npz``, so that an engine is checked where it is compiled."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from model_packaging.tensorrt.precision import Feed
from spillway.contracts.manifest import PackageError

SAMPLES_NAME: Final = "samples.npz"


def save_samples(samples: Sequence[Feed], path: Path) -> None:
    """Write ``<index>/<input>`` arrays; equal samples give equal bytes."""
    arrays = {f"{index:05}/{name}": array for index, sample in enumerate(samples) for name, array in sample.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]


def load_samples(path: Path) -> list[dict[str, np.ndarray]]:
    """Read them. Raises :class:`PackageError` for a file that holds none; pickled objects are never read."""
    samples: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                index, _, name = key.partition("/")
                if not name:
                    raise PackageError(f"{path}: array {key!r}; name arrays <index>/<input>, as in 0/input_ids.")
                samples.setdefault(index, {})[name] = archive[key]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise PackageError(f"{path}: cannot be read as samples (.npz of <index>/<input> arrays): {error}") from error
    if not samples:
        raise PackageError(f"{path}: holds no sample; give at least one.")
    return [samples[index] for index in sorted(samples)]
