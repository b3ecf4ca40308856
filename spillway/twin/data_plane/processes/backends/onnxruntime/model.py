"""Triton's ONNX Runtime backend as a Python-based backend, for a Triton that was built without it.

It serves unmodified ``backend: "onnxruntime"`` models on the CPU: Triton batches, this runs the batch. Runs inside
Triton's Python stub, where ``triton_python_backend_utils`` exists.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]


class TritonPythonModel:
    """One model instance."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        model_file = folder / (config.get("default_model_filename") or "model.onnx")
        if not model_file.is_file():
            raise pb_utils.TritonModelException(f"{model_file}: no such file")
        self._session = ort.InferenceSession(
            str(model_file), sess_options=_session_options(config), providers=["CPUExecutionProvider"]
        )
        self._batches = config["max_batch_size"] > 0
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        if not self._batches:
            return [self._run([request])[0] for request in requests]
        return self._run(requests)

    def _run(self, requests: list[Any]) -> list[Any]:
        """Run the requests as one batch and cut the outputs apart again."""
        try:
            parts = [
                [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
                for name in self._inputs
            ]
            feed = {
                name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
                for name, arrays in zip(self._inputs, parts, strict=True)
            }
            outputs = [np.asarray(output) for output in self._session.run(self._outputs, feed)]
        except Exception as error:
            # A Python backend that lets an exception out takes every request of the batch down without saying why.
            failure = pb_utils.TritonError(_told(str(error)))
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        if len(requests) == 1:
            return [self._response(outputs)]
        ends = np.cumsum([array.shape[0] for array in parts[0]])[:-1]
        cut = [np.split(output, ends) for output in outputs]
        return [self._response([pieces[index] for pieces in cut]) for index in range(len(requests))]

    def _response(self, arrays: list[np.ndarray]) -> Any:
        tensors = [
            pb_utils.Tensor(name, np.ascontiguousarray(array))
            for name, array in zip(self._outputs, arrays, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _told(error: str) -> str:
    """As the real backend says it (onnxruntime_backend, src/onnxruntime_utils.h): number and message."""
    found = re.fullmatch(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", error, re.DOTALL)
    return f"onnx runtime error {found[1]}: {found[2]}" if found else f"onnx runtime error 1: {error}"


def _session_options(config: dict[str, Any]) -> ort.SessionOptions:
    """The options that the real backend reads from the model's parameters."""
    parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    if parameters.get("execution_mode") == "1":
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    # Threads that spin between requests starve the other servers of a shared machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
