"""Text → token ids, in Triton's Python backend. Everything it needs lies beside it: no package has to be installed."""

import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).parent / "vendor"))

from tokenizers import Tokenizer


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        number = {key: int(value["string_value"]) for key, value in parameters.items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(number["max_length"])
        self._tokenizer.enable_padding(pad_id=number["pad_id"], pad_to_multiple_of=number["pad_to_multiple_of"])

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        try:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            encoded = self._tokenizer.encode_batch([text.decode("utf-8") for text in texts.reshape(-1)])
        except UnicodeDecodeError as error:
            wrong = pb_utils.TritonError(f"TEXT is not UTF-8: {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=wrong)
        ids = np.array([item.ids for item in encoded], dtype=np.int64)
        mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", mask)]
        )
