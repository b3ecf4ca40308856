"""Files of samples: a sentence a line for text models, named arrays for all others."""

from __future__ import annotations

import zipfile
from pathlib import Path

from model_packaging.errors import ModelConfigError
from model_packaging.sources.model import Batch

ARRAYS: str = "an .npz file with one array per input, named like it, the samples along its first axis"


def read_sentences(path: Path) -> tuple[str, ...]:
    """The non-empty lines of a sample file. Raises :class:`ModelConfigError` when there are fewer than two."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelConfigError(f"samples: {path} is not UTF-8 text: {error}. Give one sentence a line.") from None
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(lines) < 2:
        raise ModelConfigError(
            f"samples: {path} holds {len(lines)} sentences; give at least 2, better 30 of all lengths."
        )
    return lines


def read_arrays(path: Path) -> tuple[Batch, ...]:
    """The samples of an ``.npz`` file, each as a batch of one row. Pickled arrays are refused.

    Raises :class:`ModelConfigError` when it cannot be read, holds no sample, or its arrays differ in length.
    """
    arrays = _arrays(path)
    lengths = {name: len(array) if array.dim() else 0 for name, array in arrays.items()}
    if not lengths or min(lengths.values()) < 1:
        raise ModelConfigError(f"samples: {path} holds no sample; give {ARRAYS}.")
    if len(set(lengths.values())) > 1:
        raise ModelConfigError(f"samples: {path}: arrays of different lengths {lengths}; give as many of every input.")
    count = next(iter(lengths.values()))
    return tuple({name: array[index : index + 1].clone() for name, array in arrays.items()} for index in range(count))


def read_whole_arrays(path: Path) -> tuple[Batch, ...]:
    """The same for a model without a batch axis: the first axis only counts the samples and is taken off."""
    return tuple({name: tensor[0] for name, tensor in sample.items()} for sample in read_arrays(path))


def _arrays(path: Path) -> Batch:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as loaded:
            if not hasattr(loaded, "files"):
                raise ModelConfigError(f"samples: {path} is a single array; give {ARRAYS}.")
            return {name: torch.from_numpy(loaded[name]) for name in loaded.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelConfigError(f"samples: {path} cannot be read: {error}. Give {ARRAYS}.") from None
