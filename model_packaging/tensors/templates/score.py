"""Answers KServe v2 requests with ONNX Runtime: what a CPU endpoint runs where no Triton is. Needs requirements.txt.

SageMaker: ``python score.py --host 0.0.0.0 --port 8080`` is the container's entry point, and this folder is the model
data under ``/opt/ml/model``; ``GET /ping`` and ``POST /invocations`` are what SageMaker asks for. Azure ML: the scoring
script of a deployment; ``init`` and ``run`` are what its inference server calls.
"""

import argparse
import functools
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime as ort

MAX_BODY_BYTES = 6 * 1024 * 1024
"""What SageMaker lets through to a real-time endpoint."""

DTYPES = {
    "FP32": np.float32,
    "FP16": np.float16,
    "FP64": np.float64,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT16": np.int16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


class RequestError(ValueError):
    """The request is at fault; the message says how."""


class Model:
    """The model of one folder. Safe to call from several threads."""

    def __init__(self, folder):
        self.service = json.loads((folder / "service.json").read_text(encoding="utf-8"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.service["threads"]
        self._session = ort.InferenceSession(
            str(folder / "model.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [spec["name"] for spec in self.service["outputs"]]
        self._tokenizer = self._load_tokenizer(folder) if self.service["text"] else None

    def infer(self, request):
        """A KServe v2 request as a dict → the response as a dict. Raises RequestError."""
        if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
            raise RequestError('expected a KServe v2 request: {"inputs": [{"name", "shape", "datatype", "data"}]}')
        given = {item.get("name"): item for item in request["inputs"] if isinstance(item, dict)}
        if unknown := sorted(str(name) for name in given.keys() - {spec["name"] for spec in self.service["inputs"]}):
            raise RequestError(f"unknown input {unknown[0]!r}")
        feed = {spec["name"]: self._tensor(spec, given.get(spec["name"])) for spec in self.service["inputs"]}
        self._check_batch(feed)
        if self._tokenizer:
            feed = self._encode(self._tokenizer, feed["TEXT"])
        try:
            answers = [np.asarray(answer) for answer in self._session.run(self._outputs, feed)]
        except Exception as error:
            raise RequestError(f"the model does not take this input: {error}") from error
        outputs = [
            {
                "name": spec["name"],
                "datatype": spec["datatype"],
                "shape": list(array.shape),
                "data": array.ravel().tolist(),
            }
            for spec, array in zip(self.service["outputs"], answers, strict=True)
        ]
        return {"model_name": self.service["name"], "outputs": outputs}

    def _tensor(self, spec, item):
        name, wanted = spec["name"], spec["shape"]
        if item is None:
            raise RequestError(f"input {name!r} is missing")
        if item.get("datatype") != spec["datatype"]:
            raise RequestError(f"input {name!r} is {spec['datatype']}, the request says {item.get('datatype')}")
        shape = item.get("shape")
        if (
            not isinstance(shape, list)
            or len(shape) != len(wanted)
            or not all(isinstance(size, int) and size > 0 for size in shape)
            or any(size != fixed for size, fixed in zip(shape, wanted, strict=True) if fixed > 0)
        ):
            raise RequestError(f"input {name!r} takes shape {wanted} (-1 is any size), the request says {shape}")
        try:
            dtype = object if spec["datatype"] == "BYTES" else DTYPES[spec["datatype"]]
            return np.array(item["data"], dtype=dtype).reshape(shape)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"input {name!r}: data does not fit shape {shape}: {error}") from None

    def _check_batch(self, feed):
        limit = self.service["max_batch_size"]
        if limit == 0:
            return
        sizes = {name: len(array) for name, array in feed.items()}
        if len(set(sizes.values())) > 1:
            raise RequestError(f"inputs of different batch sizes: {sizes}")
        if max(sizes.values()) > limit:
            raise RequestError(f"a batch of {max(sizes.values())}; at most {limit} are taken")

    @staticmethod
    def _encode(tokenizer, texts):
        values = texts.ravel().tolist()
        if not all(isinstance(value, str) for value in values):
            raise RequestError("input 'TEXT' holds something that is no text")
        encoded = tokenizer.encode_batch(values)
        return {
            "input_ids": np.array([item.ids for item in encoded], dtype=np.int64),
            "attention_mask": np.array([item.attention_mask for item in encoded], dtype=np.int64),
        }

    def _load_tokenizer(self, folder):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        text = self.service["text"]
        tokenizer.enable_truncation(text["max_length"])
        tokenizer.enable_padding(pad_id=text["pad_id"], pad_to_multiple_of=text["pad_to_multiple_of"])
        return tokenizer


@functools.cache
def model():
    """The model beside this file, loaded once."""
    return Model(Path(__file__).resolve().parent)


def init():
    """Azure ML calls this once."""
    model()


def run(raw_data):
    """Azure ML calls this with the body of each request; what it returns becomes the response's JSON."""
    return model().infer(json.loads(raw_data))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one write: in two, the second waits for the first one's acknowledgement.
    wbufsize = -1
    timeout = 60

    def do_GET(self):
        if self.path == "/ping":
            self._answer(200, {})
        else:
            self._answer(404, {"error": f"{self.path}: no such route; there are GET /ping and POST /invocations"})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413, {"error": f"the body needs a Content-Length of at most {MAX_BODY_BYTES} bytes"})
            return
        body = self.rfile.read(int(length))
        if self.path != "/invocations":
            self._answer(404, {"error": f"{self.path}: no such route; there are GET /ping and POST /invocations"})
            return
        try:
            self._answer(200, model().infer(json.loads(body)))
        except (RequestError, UnicodeDecodeError, json.JSONDecodeError) as error:
            self._answer(400, {"error": str(error)})

    def _answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Requests are not logged: they hold customers' data."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs="?", choices=["serve"], help="SageMaker starts containers with this word")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 inside a container")
    parser.add_argument("--port", type=int, default=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")))
    options = parser.parse_args()
    init()
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    server.daemon_threads = True
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
