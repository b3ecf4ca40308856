"""How alike two sets of answers are: the cosine of each sample's numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def as_rows(answers: Sequence[np.ndarray], *, batched: bool = True) -> list[np.ndarray]:
    """One output's answers, each [samples, …] or not ``batched``, as rows of numbers, in double precision.

    The cosine of one number to another is 1 or -1 and says nothing: where a sample answers with a single number, the
    numbers of all samples are one row.
    """
    whole = [np.atleast_1d(item).astype(np.float64) for item in answers]
    rows = [item.reshape(len(item) if batched else 1, -1) for item in whole]
    return [np.concatenate(rows).T] if all(item.shape[1] == 1 for item in rows) else rows


def row_cosines(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Cosine of each row of two arrays [rows, …]. Two rows of zeros are equal, though they have no direction."""
    ours = got.reshape(len(got), -1).astype(np.float64)
    theirs = want.reshape(len(want), -1).astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    return np.where(both_zero, 1.0, np.sum(ours * theirs, axis=1) / np.maximum(lengths[0] * lengths[1], 1e-30))
