"""int8 and fp8 in torch, by torchao, for those who serve the torch module themselves."""

from __future__ import annotations

import copy
import json
from functools import partial
from typing import Any, Final

from model_packaging.tensors.variants.context import Context, Made, NotAvailable
from model_packaging.tensors.variants.scheme import Scheme
from spillway.contracts.manifest import PackageError


def make(context: Context, *, config: str) -> Made:
    """``model.safetensors``: the quantized state, which ``torchao.prototype.safetensors`` reads back. What is checked
    is the state as read back. ``config``: the name of torchao's class. Raises :class:`NotAvailable` where torch or the
    hardware cannot."""
    import torch
    from torchao import quantization

    if context.model.graph is not None:
        raise NotAvailable("torchao quantizes torch modules, and this source is a graph already")
    if not any(isinstance(part, torch.nn.Linear) for part in context.model.module.modules()):
        raise NotAvailable("the model has no linear layer, which is what torchao quantizes")
    module = copy.deepcopy(context.model.module)
    try:
        quantization.quantize_(module, getattr(quantization, config)())
        path = context.work / "model.safetensors"
        _save(module, path)
        read_back = _load(context.model.module, path)
        with torch.no_grad():
            read_back(**context.model.samples[0])
    except (NotImplementedError, RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise NotAvailable(f"torchao cannot do it on this machine: {reason}") from error
    return Made(path, "a state for torch and torchao; no target serves it", module=read_back)


def _save(module: Any, path: Any) -> None:
    from safetensors.torch import save_file
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    tensors, notes = flatten_tensor_state_dict(module.state_dict())
    shared = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(shared, path, metadata={name: _text(note) for name, note in sorted(notes.items())})


def _load(reference: Any, path: Any) -> Any:
    """A fresh copy of the reference with the state from the file."""
    from safetensors import safe_open
    from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

    with safe_open(str(path), framework="pt") as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - it is no dict
        state, left = unflatten_tensor_state_dict(tensors, stream.metadata())
    module = copy.deepcopy(reference)
    problems = module.load_state_dict({**state, **left}, assign=True)
    if problems.missing_keys or problems.unexpected_keys:
        raise PackageError(f"{path.name}: the state does not fit the module it was made from: {problems}")
    return module.eval()


def _text(note: Any) -> str:
    return note if isinstance(note, str) else json.dumps(note, sort_keys=True)


def _scheme(precision: str, config: str) -> Scheme:
    return Scheme(precision, partial(make, config=config), torch_only=True)


TORCHAO_INT8_DYNAMIC: Final = _scheme("torchao-int8-dynamic", "Int8DynamicActivationInt8WeightConfig")
TORCHAO_INT8_WEIGHTS: Final = _scheme("torchao-int8-weights", "Int8WeightOnlyConfig")
TORCHAO_FP8_WEIGHTS: Final = _scheme("torchao-fp8-weights", "Float8WeightOnlyConfig")
