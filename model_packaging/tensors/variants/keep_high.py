"""``keep_high: auto``: which layers stay in fp32, found by measuring.

What a layer costs depends on the others: their errors add up as vectors, so lifting one can bring nothing as long as
another drowns it. So the search lifts step by step and measures all that is left after every step.

It lowers the mean of the calibration samples' errors, though the bound is on the worst sample. Which one is the worst
depends on how errors happen to add up in it, and says little about the worst of other samples: on MiniLM the worst or
five worst calibration samples, and means of powers, chose layers that brought samples not looked at less than these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from model_packaging.tensors import checks
from model_packaging.tensors.variants.context import Feed
from model_packaging.tensors.variants.int8_graph import SWITCH, Recipe

Unit = tuple[str, ...]
"""Layers that are lifted in one step, each by its output."""


def units(plan: Recipe) -> list[Unit]:
    """Each layer, and all layers that read one value: only together do they do without its rounding."""
    groups = [tuple(weights) for _, weights in plan.values()]
    single = [(layer,) for group in groups for layer in group]
    return list(dict.fromkeys(single + groups))


def choose(
    units: Sequence[Unit],
    loss: Callable[[Collection[str]], float],
    holds: Callable[[Collection[str]], bool],
    most: int,
    lifted: Callable[[Unit, float], None],
) -> Unit:
    """The layers to lift, at most ``most``; that number, or all, where no fewer hold the bound.

    ``loss`` is measured on the calibration data and decides which; ``holds``, asked on the samples, only when it is
    enough. It is known not to hold with nothing lifted. ``lifted`` is told each step and the loss after it.
    """
    high: Unit = ()
    failed: set[frozenset[str]] = {frozenset()}
    while added := _next(units, loss, high, most):
        high += added
        lifted(added, loss(high))
        if holds(high):
            return _pruned(high, failed, loss, holds)
        failed.add(frozenset(high))
    return high


def _next(units: Sequence[Unit], loss: Callable[[Collection[str]], float], high: Unit, most: int) -> Unit:
    """The step that brings most per layer; empty where none is left."""
    before = loss(high)
    left = [tuple(layer for layer in unit if layer not in high) for unit in units]
    steps = [step for step in left if step and len(high) + len(step) <= most]
    return max(steps, key=lambda step: (before - loss(high + step)) / len(step), default=())


def _pruned(
    high: Unit,
    failed: Collection[frozenset[str]],
    loss: Callable[[Collection[str]], float],
    holds: Callable[[Collection[str]], bool],
) -> Unit:
    """Without the lifts that later ones made needless, the cheapest first, as long as the bound holds."""
    shorter = [tuple(layer for layer in high if layer != left) for left in high]
    best = min((item for item in shorter if frozenset(item) not in failed), key=loss, default=None)
    if best is None or not holds(best):
        return high
    return _pruned(best, failed, loss, holds)


class Trials:
    """Measures choices of layers on the calibration data: one run of a switched model each, nothing rewritten."""

    def __init__(self, switched: Path, exported: Path, calibration: Sequence[Feed], plan: Recipe) -> None:
        self._run = checks.onnx_runner(switched, threads=1)
        self._calibration = calibration
        self._layers = [layer for _, weights in plan.values() for layer in weights]
        exact = checks.onnx_runner(exported, threads=1)
        self._want = [exact(feed) for feed in calibration]
        self._known: dict[frozenset[str], float] = {}

    def loss(self, high: Collection[str]) -> float:
        """Mean of the samples' errors with these layers in fp32, all others in int8."""
        key = frozenset(high)
        if key not in self._known:
            self._known[key] = float(np.mean(self._errors(key)))
        return self._known[key]

    def _errors(self, high: Collection[str]) -> np.ndarray:
        """Per sample, that of its worst output."""
        switches = {layer + SWITCH: np.array([layer in high]) for layer in self._layers}
        answers = [self._run({**feed, **switches}) for feed in self._calibration]
        outputs = (
            output_errors([got[name] for got in answers], [want[name] for want in self._want]) for name in self._want[0]
        )
        return np.max(list(outputs), axis=0)


def output_errors(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> np.ndarray:
    """One output's error per sample, as parity has it: 1 − cosine. A single number has no direction; its squared error
    is taken, in the same measure: as share of twice the mean square over the samples."""
    ours = [item.astype(np.float64).reshape(-1) for item in got]
    theirs = [item.astype(np.float64).reshape(-1) for item in want]
    if all(item.size == 1 for item in theirs):
        one, other = np.concatenate(ours), np.concatenate(theirs)
        return (one - other) ** 2 / max(2 * float(np.mean(other**2)), 1e-30)
    return np.array([_angle(one, other) for one, other in zip(ours, theirs, strict=True)])


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    """1 − cosine; two rows of zeros are equal."""
    if not one.any() and not other.any():
        return 0.0
    return 1 - float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-30)
