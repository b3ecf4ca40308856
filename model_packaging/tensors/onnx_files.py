"""Writing ONNX files so that equal models are equal bytes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_packaging.sources.onnx_weights import inner_graphs
from spillway.contracts.targets import OnnxLevel


def save(proto: Any, path: Path) -> None:
    path.write_bytes(proto.SerializeToString(deterministic=True))


def normalise(proto: Any, level: OnnxLevel) -> None:
    """Set the IR, and drop what differs from run to run: stack traces with local paths and the producer's notes."""
    proto.ir_version = min(proto.ir_version, level.ir)
    del proto.metadata_props[:]
    proto.doc_string = ""
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
            item.doc_string = ""
            del item.metadata_props[:]
        graphs += [inner for node in graph.node for inner in inner_graphs(node)]


def rewrite(written: Path, path: Path, level: OnnxLevel) -> None:
    """Normalise what a tool has written, into ``path``; the tool's file goes."""
    import onnx

    proto = onnx.load(str(written))
    written.unlink()
    normalise(proto, level)
    save(proto, path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters and quantizers talk on stdout, stderr, the log and as warnings; errors still come as exceptions."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
