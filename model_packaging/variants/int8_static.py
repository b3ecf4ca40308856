"""int8 with activation scales fixed from calibration data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_packaging import onnx_files
from model_packaging.variants import equalise
from model_packaging.variants.context import Context, Feed, Made, NotAvailable
from model_packaging.variants.graph import (
    CONTRIB,
    Graph,
    Linear,
    fuse_gelu,
    keep_layer_norm_plain,
    linear_layers,
    matches,
    shrink_tables,
    split_gemm,
)
from model_packaging.variants.settings import Variant

_MAX_ROWS: Final = 8192
"""Recorded rows per layer; more are thinned out evenly."""

Groups = dict[str, list[Linear]]
Plan = dict[str, tuple[equalise.Inputs, dict[str, equalise.Weights]]]


def make(variant: Variant, context: Context) -> Made:
    """Quantize every product with a constant matrix, the convolutions and large tables; then keep high what is asked.

    Raises :class:`NotAvailable` for a model without any of these, and :class:`PackageError` from ONNX Runtime.
    """
    graph = _prepared(context)
    layers = linear_layers(graph)
    convolutions = [node.name for node in graph.proto.graph.node if node.op_type == "Conv"]
    if not layers and not convolutions:
        raise NotAvailable("the model has no product with constant weights and no convolution, so nothing to quantize")
    patterns = () if variant.keep_high == "auto" else variant.keep_high
    high = {layer.name for layer in layers if matches(layer.name, patterns)}
    # What is kept high for good needs no plan; what the search may lift does.
    groups = _groups([layer for layer in layers if layer.name not in high])
    context.progress(f"  calibrating {sum(map(len, groups.values()))} layers on {len(context.calibration)} samples")
    plan = _plan(groups, graph.proto.SerializeToString(), context.calibration)
    path = context.work / "model.onnx"
    if variant.keep_high == "auto":
        lifted = _search(variant, context, plan, path)
        high |= set(lifted)
    else:
        write(context, plan, high, path)
    skipped = {name for name in convolutions if matches(name, patterns)}
    if set(convolutions) - skipped:
        _quantize_convolutions(path, set(convolutions) - skipped, context)
    kept = sorted(high | skipped)
    detail = f"calibrated on {len(context.calibration)} samples"
    return Made(path, f"{detail}; kept in fp32: {', '.join(kept)}" if kept else detail)


def write(context: Context, plan: Plan, high: Collection[str], path: Path) -> None:
    """The model with the planned layers in int8, those named ``high`` left alone."""
    graph = _prepared(context)
    changes: list[tuple[Sequence[int], Sequence[Any]]] = []
    for source, layers in _groups(linear_layers(graph)).items():
        chosen = [layer for layer in layers if layer.name not in high and source in plan]
        if chosen:
            inputs, weights = plan[source]
            changes += _integer_nodes(graph, sorted(chosen, key=lambda layer: max(layer.nodes)), inputs, weights)
    graph.replace_many(changes)
    fuse_gelu(graph)
    keep_layer_norm_plain(graph)
    shrink_tables(graph)
    graph.use_contrib()
    graph.drop_unused()
    onnx_files.normalise(graph.proto, context.level)
    onnx_files.save(graph.proto, path)


def _prepared(context: Context) -> Graph:
    import onnx

    graph = Graph(onnx.load(str(context.exported)))
    split_gemm(graph)
    return graph


def _groups(layers: Sequence[Linear]) -> Groups:
    """Layers by the value that they read: they share its scales."""
    groups: Groups = {}
    for layer in layers:
        groups.setdefault(layer.input, []).append(layer)
    return groups


def _plan(groups: Groups, model: bytes, calibration: Sequence[Feed]) -> Plan:
    recorded = _record(model, list(groups), calibration)
    plan: Plan = {}
    for source, layers in groups.items():
        x = recorded.pop(source)
        inputs = equalise.choose_inputs(layers, x)
        plan[source] = inputs, {layer.name: equalise.round_weights(layer, inputs, x) for layer in layers}
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


def _integer_nodes(
    graph: Graph, layers: Sequence[Linear], inputs: equalise.Inputs, weights: dict[str, equalise.Weights]
) -> list[tuple[Sequence[int], Sequence[Any]]]:
    """Even out and round the group's input once, then one integer product per layer; by the nodes that they replace.

    ``layers`` are in the order in which the graph needs them.
    """
    from onnx import helper

    base = f"{layers[0].output}.input"
    value, head = layers[0].input, []
    if (inputs.scale != 1).any():
        factor = graph.add(f"{base}.factor", (1 / inputs.scale).astype(np.float32))
        head.append(helper.make_node("Mul", [value, factor], [f"{base}.scaled"], name=f"{base}.scaled"))
        value = f"{base}.scaled"
    if inputs.shift.any():
        offset = graph.add(f"{base}.offset", (-inputs.shift / inputs.scale).astype(np.float32))
        head.append(helper.make_node("Add", [value, offset], [f"{base}.shifted"], name=f"{base}.shifted"))
        value = f"{base}.shifted"
    step, zero = graph.add(f"{base}.step", np.array(inputs.step)), graph.add(f"{base}.zero", np.array(inputs.zero))
    head.append(helper.make_node("QuantizeLinear", [value, step, zero], [f"{base}.int8"], name=f"{base}.int8"))
    changes: list[tuple[Sequence[int], Sequence[Any]]] = []
    for layer in layers:
        own = weights[layer.name]
        parts = {
            part: graph.add(f"{layer.output}.{part}", array)
            for part, array in (("steps", own.steps), ("scale", own.scale), ("bias", own.bias))
        }
        product = helper.make_node(
            "MatMulIntegerToFloat",
            [f"{base}.int8", parts["steps"], step, parts["scale"], zero, "", parts["bias"]],
            [layer.output],
            name=f"{layer.name}.int8",
            domain=CONTRIB,
        )
        changes.append((layer.nodes, [*head, product]))
        head = []
    return changes


def _search(variant: Variant, context: Context, plan: Plan, path: Path) -> list[str]:
    """Layers to lift, fewest first: ranked once by what lifting each alone brings on the calibration data, then lifted
    one after the other until the bound holds on the samples. The samples themselves choose nothing but the number."""
    write(context, plan, (), path)
    figure = context.parity(path)
    if figure.min_cosine >= variant.min_cosine:
        return []
    context.progress(f"  all in int8: cosine {figure.min_cosine}; looking for the layers that cost most")
    want = _answers(context.exported, context.calibration)
    names = [name for _, weights in plan.values() for name in weights]
    trial = context.work / "trial.onnx"

    def error(high: Collection[str]) -> float:
        write(context, plan, high, trial)
        return _mean_error(want, _answers(trial, context.calibration))

    left = {name: error((name,)) for name in names}
    ranked = sorted(names, key=lambda name: left[name])[: variant.max_kept_high]
    lifted: list[str] = []
    for name in ranked:
        lifted.append(name)
        write(context, plan, lifted, path)
        figure = context.parity(path)
        context.progress(f"  {name} in fp32: cosine {figure.min_cosine}")
        if figure.min_cosine >= variant.min_cosine:
            break
    trial.unlink()
    return lifted


def _answers(path: Path, feeds: Sequence[Feed]) -> list[np.ndarray]:
    from model_packaging import checks

    session = checks.open_session(path, threads=1)
    return [np.concatenate([np.asarray(part).reshape(-1) for part in session.run(None, feed)]) for feed in feeds]


def _mean_error(want: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """Mean of 1 − cosine: the mean ranks layers more steadily than the worst of a few samples."""
    return float(
        np.mean(
            [
                1 - one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-30)
                for one, other in zip(want, got, strict=True)
            ]
        )
    )


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
