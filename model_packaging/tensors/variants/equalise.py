"""Integer layers that stay close to fp32: shift and scale each channel before rounding, and round weights with care.

Per group of layers that read the same value, on recorded calibration inputs ``x`` [rows, channels]:

* *Shift and scale.* Some channels of a transformer are a hundred times larger than the rest and, on one common scale,
  leave the rest a few steps. ``y = (x − c) / s`` evens them out, and the weights take ``s`` back (SmoothQuant,
  arXiv 2211.10438; the shift as in Outlier Suppression+, arXiv 2304.09145). How far is measured per group.
* *Eight bits without saturation.* AVX2's multiply-add of unsigned activations and signed weights sums two products in
  16 bits. Seven-bit weights are the usual remedy and cost accuracy; here each column's scale is the smallest for which
  no adjacent pair can overflow, which keeps nearly all of the eighth bit.
* *Rounding.* Each weight's rounding error is taken up by the weights not yet rounded, weighed by the inputs' second
  moments (GPTQ, arXiv 2210.17323), and what is left on average goes into the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model_packaging.tensors.variants.graph import Linear

STRENGTHS: Final = (0.0, 0.3, 0.5, 0.65, 0.8)
"""Shares of a channel's range that move into the weights; 0 leaves the inputs as they are."""

_LEVELS: Final = 255
_PAIR_LIMIT: Final = 32767 // _LEVELS
"""Largest sum of two adjacent weights of one sign, in steps: 255 · 128 still fits 16 bits."""
_DAMPING: Final = 0.01
_BLOCK: Final = 128
_SEARCH_ROWS: Final = 768
_WORTH: Final = 0.9
"""A shift costs an operator: it is taken where it brings the error below this share."""


@dataclass(frozen=True)
class Inputs:
    """How a group's input becomes uint8: ``round((x − shift) / scale / step) + zero``."""

    shift: np.ndarray
    scale: np.ndarray
    step: np.float32
    zero: np.uint8

    def evened(self, x: np.ndarray) -> np.ndarray:
        return (x - self.shift) / self.scale

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """What the layer sees: evened out, rounded and widened again."""
        steps = np.clip(np.rint(self.evened(x) / self.step) + self.zero, 0, _LEVELS)
        return ((steps - self.zero) * self.step).astype(np.float32)


@dataclass(frozen=True)
class Weights:
    """One layer in int8: ``steps`` [inputs, outputs], a scale per output, and the bias in fp32."""

    steps: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def choose_inputs(layers: Sequence[Linear], x: np.ndarray) -> Inputs:
    """The shift and scale with the least error at the group's outputs, weights rounded to nearest."""
    some = x[:: max(1, len(x) // _SEARCH_ROWS)]
    weight = np.concatenate([layer.weight for layer in layers], axis=1)
    want = some @ weight
    spread = want.std(axis=0) + 1e-9

    def error(inputs: Inputs) -> float:
        scaled = weight * inputs.scale[:, None]
        scale = weight_scale(scaled)
        got = inputs.rounded(some) @ (np.rint(scaled / scale) * scale) + inputs.shift @ weight
        return float((((got - want) / spread) ** 2).mean())

    def best(shift: np.ndarray) -> tuple[float, Inputs]:
        found = [_inputs(x, weight, shift, strength) for strength in STRENGTHS]
        errors = [error(item) for item in found]
        return min(zip(errors, found, strict=True), key=lambda pair: pair[0])

    plain = best(np.zeros(x.shape[1], np.float32))
    shifted = best(((x.max(axis=0) + x.min(axis=0)) / 2).astype(np.float32))
    return shifted[1] if shifted[0] < _WORTH * plain[0] else plain[1]


def round_weights(layer: Linear, inputs: Inputs, x: np.ndarray) -> Weights:
    """The layer's weights in int8 for these inputs."""
    scaled = layer.weight * inputs.scale[:, None]
    scale = weight_scale(scaled)
    evened = inputs.evened(x)
    steps = _round(scaled, scale, evened.T @ evened / len(evened))
    bias = layer.bias if layer.bias is not None else np.zeros(layer.weight.shape[1], np.float32)
    bias = bias + inputs.shift @ layer.weight
    exact = evened @ scaled
    bias = bias + (exact - inputs.rounded(x) @ (steps * scale)).mean(axis=0)
    return Weights(steps.astype(np.int8), scale.astype(np.float32), bias.astype(np.float32))


def weight_scale(weight: np.ndarray) -> np.ndarray:
    """Per output, the smallest step with which nothing overflows: neither a weight nor a pair of neighbours."""
    even = np.pad(weight, ((0, weight.shape[0] % 2), (0, 0)))
    pairs = even.reshape(-1, 2, weight.shape[1])
    pair = np.maximum(pairs.clip(min=0).sum(axis=1), (-pairs).clip(min=0).sum(axis=1)).max(axis=0)
    return np.maximum(np.maximum(pair / (_PAIR_LIMIT - 1), np.abs(weight).max(axis=0) / 127), 1e-12)


def _inputs(x: np.ndarray, weight: np.ndarray, shift: np.ndarray, strength: float) -> Inputs:
    scale = np.ones(x.shape[1], np.float32)
    if strength:
        reach = np.abs(x - shift).max(axis=0).clip(min=1e-5)
        scale = (reach**strength / np.abs(weight).max(axis=1).clip(min=1e-5) ** (1 - strength)).astype(np.float32)
        scale = scale.clip(min=1e-4)
    evened = (x - shift) / scale
    low, high = min(float(evened.min()), 0.0), max(float(evened.max()), 0.0)
    step = np.float32(max(high - low, 1e-9) / _LEVELS)
    return Inputs(shift, scale, step, np.uint8(np.clip(round(-low / float(step)), 0, _LEVELS)))


def _round(weight: np.ndarray, scale: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """GPTQ: input by input, the largest moments first, each one's error spread over those that follow."""
    count = len(moments)
    damped = moments.astype(np.float64) + np.eye(count) * (_DAMPING * float(np.mean(np.diag(moments))) + 1e-12)
    order = np.argsort(-np.diag(moments), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(damped[order][:, order])).T.astype(np.float32)
    left = weight[order].astype(np.float32)
    place = np.argsort(order)
    steps = np.zeros((count + 1, left.shape[1]), np.float32)
    # The last row stands for the missing neighbour of an odd number of inputs.
    neighbour = np.array([place[index ^ 1] if index ^ 1 < count else count for index in order])
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.zeros((stop - start, left.shape[1]), np.float32)
        for row in range(start, stop):
            beside = steps[neighbour[row]]
            lowest = np.maximum(-127, -_PAIR_LIMIT + (-beside).clip(min=0))
            highest = np.minimum(127, _PAIR_LIMIT - beside.clip(min=0))
            steps[row] = np.clip(np.rint(left[row] / scale), lowest, highest)
            errors[row - start] = (left[row] - steps[row] * scale) / factor[row, row]
            left[row:stop] -= factor[row, row:stop, None] * errors[row - start]
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return steps[place]
