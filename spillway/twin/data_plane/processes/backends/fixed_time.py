"""A Triton model with a fixed service time that burns no CPU: what drills about capacity load.

Three servers on a small machine share one CPU, so a real model there shows correctness and not capacity. This one
sleeps: a server with ``instances`` of them works on that many requests at once and no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MODEL: Final = '''"""Answers its input after a fixed time."""

import json
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self._service_time_s = float(parameters["service_time_s"]["string_value"])

    def execute(self, requests):
        time.sleep(self._service_time_s)
        return [
            pb_utils.InferenceResponse(
                output_tensors=[pb_utils.Tensor("ECHO", pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy())]
            )
            for request in requests
        ]
'''

_CONFIG: Final = """name: "{name}"
backend: "python"
max_batch_size: 1
input [ {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "ECHO" data_type: TYPE_STRING dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
parameters {{ key: "service_time_s" value {{ string_value: "{service_time_s}" }} }}
dynamic_batching {{
  preferred_batch_size: [ 1 ]
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy {{ timeout_action: REJECT max_queue_size: {max_queue} }}
}}
"""


def fixed_time_repository(
    folder: Path, *, name: str = "slow", service_time_s: float, instances: int, max_queue: int = 0
) -> Path:
    """Write a Triton repository with one model into ``folder`` and return ``folder``.

    The model takes ``TEXT`` BYTES [batch, 1] and answers the same bytes as ``ECHO``. ``instances``: requests served at
    once. ``max_queue``: requests that may wait per priority level before the next is refused; 0 for no bound.
    """
    if service_time_s < 0 or instances < 1:
        raise ValueError(
            f"service_time_s {service_time_s} and instances {instances}: use a time >= 0 and at least 1 instance"
        )
    version = folder / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.py").write_text(_MODEL, encoding="utf-8")
    config = _CONFIG.format(name=name, instances=instances, service_time_s=service_time_s, max_queue=max_queue)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder
