"""GPTQ (Frantar et al. 2022, arXiv:2210.17323): rounds weights so that each layer's output on real text changes least.

Columns are rounded one after another; the error of each is spread over those still to come, weighed by the inverse of
the inputs' second moments. Those are gathered from the fp32 model in one pass, so layers do not see the rounding of the
ones before them. Model and moments are in memory whole. llm-compressor does the same for models of any size and with
experts; it asks for older versions of torch, transformers and compressed-tensors than are pinned here
(docs/decisions/0047-llm-compressor-beside-not-inside.md), so what it writes is packaged with ``weights: as-is``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from model_packaging.language.checkpoint import scales
from model_packaging.language.checks import torch_threads
from model_packaging.language.variants.plan import Recipe
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

_DAMPING: Final = 0.1
"""Share of the mean second moment that is added to each. The paper's code adds 0.01, with 260 000 tokens; with the few
thousand that are usual here that fits the calibration text too closely. Seen on SmolLM2-135M, int4 by 64, 4864 tokens:
on held-out text the layers' squared error is 0.19 to 0.73 of plain rounding's with 0.1, up to 0.93 with 0.01."""
_BLOCK: Final = 128
"""Columns whose errors are spread at once."""


def rounded_weights(
    module: PreTrainedModel, plan: Recipe, windows: torch.Tensor, dtype: str
) -> dict[str, torch.Tensor]:
    """The weights of every quantized layer, fp32 [rows, columns], each a multiple of its scale.

    ``windows``: INT64 [windows, tokens] of calibration text. ``dtype``: of the stored scales.
    """
    import torch

    with torch.no_grad():
        names = tuple(sorted(plan.quantized))
        moments = _second_moments(module, names, windows)
        weights = {name: module.get_submodule(name).get_parameter("weight") for name in names}
        # The steps are small: threads would wait for each other longer than they work.
        with torch_threads(1):
            return {name: _round(weight, plan, moments[name], dtype) for name, weight in weights.items()}


def _second_moments(module: PreTrainedModel, names: tuple[str, ...], windows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Name → sum of x xᵀ over all tokens that reach the layer, fp32 [inputs, inputs]; its scale does not matter.

    Layers that read the same tensor, as q_proj, k_proj and v_proj do, share one.
    """
    import torch

    sums: dict[str, torch.Tensor] = {}
    last: list[Any] = [None, None]

    def add_to(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def add(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if last[0] is not inputs[0]:
                rows = inputs[0].detach().float().flatten(0, -2)
                moment = rows.T @ rows
                last[:] = inputs[0], sums[name].add_(moment) if name in sums else moment
            sums[name] = last[1]

        return add

    handles = [module.get_submodule(name).register_forward_pre_hook(add_to(name)) for name in names]
    try:
        for window in windows:
            # Without the head: nothing before it depends on it.
            module.base_model(input_ids=window.unsqueeze(0), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in names if name not in sums or not bool(torch.isfinite(sums[name]).all())]:
        raise PackageError(f"gptq: {missing[0]} saw no usable input in the calibration text.")
    return sums


def _round(weight: torch.Tensor, plan: Recipe, moment: torch.Tensor, dtype: str) -> torch.Tensor:
    """One layer. Scales are fixed beforehand, so that what is stored rounds back to the same numbers."""
    import torch

    assert plan.quantization is not None
    assert plan.quantization.weights is not None
    args = plan.quantization.weights
    high = 2 ** (args.num_bits - 1) - 1
    size = args.group_size or weight.shape[1]
    scale = scales(weight, plan, dtype).float().repeat_interleave(size, dim=1)

    # Columns become rows: each step then works on memory that lies together.
    left, scale = weight.detach().float().T.contiguous(), scale.T.contiguous()
    dead = moment.diagonal() == 0
    moment = moment.clone()
    moment.diagonal()[dead] = 1
    left[dead] = 0
    moment.diagonal().add_(_DAMPING * moment.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)

    for start in range(0, len(left), _BLOCK):
        stop = min(start + _BLOCK, len(left))
        errors = torch.zeros(stop - start, left.shape[1])
        for column in range(start, stop):
            steps = (left[column] / scale[column]).round_().clamp_(-high - 1, high)
            nearest = steps * scale[column]
            error = errors[column - start] = (left[column] - nearest) / inverse[column, column]
            left[column] = nearest
            left[column + 1 : stop].addr_(inverse[column, column + 1 : stop], error, alpha=-1)
        left[stop:].addmm_(inverse[start:stop, stop:].T, errors, alpha=-1)
    return left.T
