"""int8 with activation scales fixed from calibration data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_packaging.tensors import onnx_files
from model_packaging.tensors.variants import equalise, keep_high
from model_packaging.tensors.variants.context import Context, Feed, Made, NotAvailable
from model_packaging.tensors.variants.graph import kept_high, linear_layers
from model_packaging.tensors.variants.int8_graph import Groups, Recipe, groups_of, prepared, write, write_switched
from model_packaging.tensors.variants.scheme import Scheme

_MAX_ROWS: Final = 8192
"""Recorded rows per layer; more are thinned out evenly."""


def make(context: Context) -> Made:
    """Quantize every product with a constant matrix, the convolutions and large tables; then keep high what is asked.

    Raises :class:`NotAvailable` for a model without any of these, and :class:`PackageError` from ONNX Runtime.
    """
    graph = prepared(context)
    layers = linear_layers(graph)
    convolutions = [node.name for node in graph.proto.graph.node if node.op_type == "Conv"]
    if not layers and not convolutions:
        raise NotAvailable("the model has no product with constant weights and no convolution, so nothing to quantize")
    names = {layer.output: layer.name for layer in layers}
    chosen = kept_high({*names.values(), *convolutions}, context.high_patterns)
    high = {output for output, name in names.items() if name in chosen}
    skipped = chosen.intersection(convolutions)
    # What is kept high for good needs no plan; what the search may lift does.
    groups = groups_of([layer for layer in layers if layer.output not in high])
    context.progress(f"  calibrating {sum(map(len, groups.values()))} layers on {len(context.calibration)} samples")
    plan = make_plan(groups, graph.proto.SerializeToString(), context.calibration)
    path = context.work / "model.onnx"

    def finish(high: Collection[str]) -> None:
        write(context, plan, high, path)
        if set(convolutions) - skipped:
            _quantize_convolutions(path, set(convolutions) - skipped, context)

    if context.keep_high == "auto":
        high = set(_search(context, plan, names, path, finish))
    finish(high)
    kept = sorted({names[output] for output in high} | skipped)
    detail = f"calibrated on {len(context.calibration)} samples"
    return Made(path, f"{detail}; kept in fp32: {', '.join(kept)}" if kept else detail)


def make_plan(groups: Groups, model: bytes, calibration: Sequence[Feed]) -> Recipe:
    recorded = _record(model, list(groups), calibration)
    plan: Recipe = {}
    for source, layers in groups.items():
        x = recorded.pop(source)
        inputs = equalise.choose_inputs(layers, x)
        plan[source] = inputs, {layer.output: equalise.round_weights(layer, inputs, x) for layer in layers}
    return plan


def _record(model: bytes, names: list[str], calibration: Sequence[Feed]) -> dict[str, np.ndarray]:
    """The values of these names over all calibration samples, as rows."""
    import onnx
    import onnxruntime as ort

    proto = onnx.load_from_string(model)
    present = {item.name for item in proto.graph.output} | {item.name for item in proto.graph.input}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # sums in one order, so that two builds are equal
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inner = [name for name in names if name not in {item.name for item in proto.graph.input}]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for feed in calibration:
        found = dict(zip(inner, session.run(inner, feed) if inner else [], strict=True))
        for name in names:
            value = np.asarray(found[name] if name in found else feed[name])
            rows[name].append(value.reshape(-1, value.shape[-1]))
    joined = {name: np.concatenate(parts) for name, parts in rows.items()}
    return {name: value[:: max(1, len(value) // _MAX_ROWS)].astype(np.float32) for name, value in joined.items()}


def _search(
    context: Context,
    plan: Recipe,
    names: Mapping[str, str],
    path: Path,
    finish: Callable[[Collection[str]], None],
) -> tuple[str, ...]:
    """The layers to lift: the calibration data choose them, and the samples say when they are enough.

    ``names``: what each layer is called, by its output.
    """

    def holds(high: Collection[str]) -> bool:
        finish(high)
        figure = context.parity(path)
        context.progress(f"  layers in fp32: {len(high)}, cosine {figure.min_cosine}")
        return figure.passed

    def lifted(added: Collection[str], loss: float) -> None:
        shown = ", ".join(names[output] for output in added)
        context.progress(f"  lifting {shown}: calibration error {loss:.3g}")

    units = keep_high.units(plan)
    if holds(()) or not units:
        return ()
    trial = context.work / "trial.onnx"
    write_switched(context, plan, trial)
    trials = keep_high.Trials(trial, context.exported, context.calibration, plan)
    trial.unlink()
    return keep_high.choose(units, trials.loss, holds, context.max_kept_high, lifted)


def _quantize_convolutions(path: Path, names: Collection[str], context: Context) -> None:
    """Convolutions by ONNX Runtime's own quantizer: QDQ, one scale per output channel, ranges from the samples."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(context.calibration)

        def get_next(self) -> Any:
            return next(self.left, None)

    written = path.with_name("convolutions.onnx")
    with onnx_files.quiet():
        quantize_static(
            str(path),
            str(written),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=sorted(names),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    onnx_files.rewrite(written, path, context.level)


INT8_STATIC: Final = Scheme("int8-static", make, calibrated=True, keeps_high=True)
