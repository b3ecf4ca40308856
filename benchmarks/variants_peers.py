"""Run in the peers' environment by variants.py: what Optimum and Olive make of the same fp32 ONNX file.

``python variants_peers.py FP32.onnx FOLDER`` writes ``FOLDER/<peer>.onnx`` and prints one line of JSON: per peer its
version, or why it made nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path


def optimum_dynamic(source: Path, folder: Path) -> Path:
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    work = folder / "optimum"
    work.mkdir()
    shutil.copyfile(source, work / "model.onnx")
    quantizer = ORTQuantizer.from_pretrained(work, file_name="model.onnx")
    settings = AutoQuantizationConfig.avx2(is_static=False, per_channel=True)
    quantizer.quantize(save_dir=work / "out", quantization_config=settings)
    return next((work / "out").glob("*.onnx"))


def olive_dynamic(source: Path, folder: Path) -> Path:
    from olive.workflows import run

    work = folder / "olive"
    run(
        {
            "input_model": {"type": "ONNXModel", "model_path": str(source)},
            "passes": {"quantize": {"type": "OnnxDynamicQuantization"}},
            "output_dir": str(work),
            "cache_dir": str(folder / "olive-cache"),
        }
    )
    return next(work.rglob("*.onnx"))


PEERS = {"optimum-int8-dynamic": ("optimum-onnx", optimum_dynamic), "olive-int8-dynamic": ("olive-ai", olive_dynamic)}


def main(source: Path, folder: Path) -> None:
    said = {}
    for name, (distribution, make) in PEERS.items():
        try:
            shutil.copyfile(make(source, folder), folder / f"{name}.onnx")
            said[name] = f"{distribution} {importlib.metadata.version(distribution)}"
        except Exception as error:  # a peer that fails is a row of the table, not the end of the benchmark
            said[name] = f"made nothing: {type(error).__name__}: {str(error)[:200]}"
    print("\n" + json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
