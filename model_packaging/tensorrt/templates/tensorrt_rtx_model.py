"""Serves a TensorRT-RTX engine in Triton's Python backend, as Triton's TensorRT backend does not take such engines.

The model's version folder holds model.plan and engine.json beside this file. The environment of the backend needs
torch with CUDA and the TensorRT-RTX release that the engine was built with (tensorrt-rtx-cu13-libs and -bindings).
"""

import importlib
import json
from pathlib import Path

import torch
import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]


def load_library():
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise pb_utils.TritonModelException("TensorRT-RTX is not installed in the Python backend's environment.")


class TritonPythonModel:
    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self.record = json.loads((folder / "engine.json").read_text(encoding="utf-8"))
        key = self.record["key"]
        wanted = key["compute_capability"]
        if not torch.cuda.is_available():
            raise pb_utils.TritonModelException(f"needs an NVIDIA GPU of compute capability {wanted}")
        self.device = torch.device("cuda", int(args.get("model_instance_device_id") or 0))
        found = ".".join(map(str, torch.cuda.get_device_capability(self.device)))
        if found != wanted:
            raise pb_utils.TritonModelException(f"the engine is for compute capability {wanted}, this GPU has {found}")
        torch.cuda.set_device(self.device)
        trt = load_library()
        self.runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self.engine = self.runtime.deserialize_cuda_engine((folder / "model.plan").read_bytes())
        if self.engine is None:
            raise pb_utils.TritonModelException(f"the engine needs TensorRT-RTX {key['version']} exactly")
        self.inputs = [tensor for tensor in self.record["tensors"] if tensor["mode"] == "input"]
        self.outputs = [tensor for tensor in self.record["tensors"] if tensor["mode"] == "output"]
        self.stream = torch.cuda.Stream(self.device)
        self.contexts = {}

    def execute(self, requests):
        """One run for all requests: Triton's batcher puts together only what has one shape."""
        rows = [pb_utils.get_input_tensor_by_name(one, self.inputs[0]["name"]).shape()[0] for one in requests]
        with torch.cuda.stream(self.stream):
            batch = {tensor["name"]: self.joined(requests, tensor) for tensor in self.inputs}
            answers = {name: output.cpu() for name, output in self.run(batch).items()}
        self.stream.synchronize()
        parts = {name: torch.split(output, rows) for name, output in answers.items()}
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(name, pieces[index].numpy()) for name, pieces in parts.items()])
            for index in range(len(requests))
        ]

    def joined(self, requests, tensor):
        pieces = [pb_utils.get_input_tensor_by_name(one, tensor["name"]).as_numpy() for one in requests]
        whole = torch.cat([torch.from_numpy(piece) for piece in pieces])
        return whole.to(self.device, getattr(torch, tensor["dtype"])).contiguous()

    def run(self, batch):
        context = self.context({name: tuple(tensor.shape) for name, tensor in batch.items()})
        for name, tensor in batch.items():
            context.set_input_shape(name, tuple(tensor.shape))
            context.set_tensor_address(name, tensor.data_ptr())
        answers = {}
        for tensor in self.outputs:
            shape = tuple(context.get_tensor_shape(tensor["name"]))
            answers[tensor["name"]] = torch.empty(shape, dtype=getattr(torch, tensor["dtype"]), device=self.device)
            context.set_tensor_address(tensor["name"], answers[tensor["name"]].data_ptr())
        if not context.execute_async_v3(self.stream.cuda_stream):
            raise pb_utils.TritonModelException("the engine failed to run")
        return answers

    def context(self, shapes):
        """The execution context of the first profile that takes these shapes."""
        for index, profile in enumerate(self.record["profiles"]):
            if all(fits(shape, profile["shapes"][name]) for name, shape in shapes.items()):
                if index not in self.contexts:
                    self.contexts[index] = self.engine.create_execution_context()
                    self.contexts[index].set_optimization_profile_async(index, self.stream.cuda_stream)
                return self.contexts[index]
        raise pb_utils.TritonModelException(f"no optimisation profile takes {shapes}")


def fits(shape, bounds):
    least, _, most = bounds
    return len(shape) == len(least) and all(a <= size <= b for a, size, b in zip(least, shape, most, strict=True))
