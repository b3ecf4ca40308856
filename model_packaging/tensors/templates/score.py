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

NUMBER, WHOLE = {int, float}, {int}
DTYPES = {
    "FP32": (np.float32, NUMBER),
    "FP16": (np.float16, NUMBER),
    "FP64": (np.float64, NUMBER),
    "INT64": (np.int64, WHOLE),
    "INT32": (np.int32, WHOLE),
    "INT16": (np.int16, WHOLE),
    "INT8": (np.int8, WHOLE),
    "UINT8": (np.uint8, WHOLE),
    "BOOL": (np.bool_, {bool}),
    "BYTES": (object, {str}),
}
"""By Triton's name: numpy's type, and what JSON may say it with. A text is no number, and 0 is no false."""

READ = {"priority": int, "timeout": int, "sequence_id": (int, str)}
"""Parameters that Triton reads itself, and what each may be."""
EXPECTED = 'expected a KServe v2 request: {"inputs": [{"name", "shape", "datatype", "data"}]}'


class RequestError(ValueError):
    """The request is at fault; the message says how."""


def read(body):
    """JSON → values. Of a key that stands twice the first counts, as in Triton. Raises RequestError."""

    def first(pairs):
        found = {}
        for key, value in pairs:
            found.setdefault(key, value)
        return found

    try:
        return json.loads(body, object_pairs_hook=first)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}") from None


class Model:
    """The model of one folder. Safe to call from several threads."""

    def __init__(self, folder):
        self.service = json.loads((folder / "service.json").read_text(encoding="utf-8"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.service["threads"]
        self._session = ort.InferenceSession(
            str(folder / "model.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = self._load_tokenizer(folder) if self.service["text"] else None

    def infer(self, request):
        """A KServe v2 request as a dict → the response as a dict, as Triton answers it. Raises RequestError."""
        if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
            raise RequestError(EXPECTED)
        name = request.get("id", "")
        if not isinstance(name, str):
            raise RequestError(f"id is a text, the request says {name!r}")
        check_parameters(request.get("parameters", {}))
        asked = self._asked(request.get("outputs", []))
        feed = self._feed(request["inputs"])
        self._check_batch(feed)
        if self._tokenizer:
            feed = self._encode(self._tokenizer, feed["TEXT"])
        specs = [spec for spec in self.service["outputs"] if not asked or spec["name"] in asked]
        try:
            answers = [np.asarray(answer) for answer in self._session.run([spec["name"] for spec in specs], feed)]
        except Exception as error:
            raise RequestError(f"the model does not take this input: {error}") from error
        outputs = [self._output(spec, array, asked) for spec, array in zip(specs, answers, strict=True)]
        head = {"id": name} if name else {}
        return {**head, "model_name": self.service["name"], "model_version": "1", "outputs": outputs}

    def _asked(self, outputs):
        """Output -> how many of its highest values are asked for, by class; 0 for all as they are."""
        if not isinstance(outputs, list) or not all(
            isinstance(item, dict) and isinstance(item.get("name"), str) for item in outputs
        ):
            raise RequestError('outputs is a list of {"name"}')
        known = {spec["name"]: spec for spec in self.service["outputs"]}
        asked = {}
        for item in outputs:
            if item["name"] not in known:
                raise RequestError(f"unknown output {item['name']!r}; there are {', '.join(known)}")
            parameters = item.get("parameters") or {}
            count = parameters.get("classification", 0) if isinstance(parameters, dict) else 0
            if type(count) is not int or count < 0:
                raise RequestError(f"classification is a count, the request says {count!r}")
            if count and known[item["name"]]["datatype"] == "BOOL":
                raise RequestError(f"output {item['name']!r} is BOOL, which has no classes")
            asked[item["name"]] = count
        return asked

    def _output(self, spec, array, asked):
        count = asked.get(spec["name"], 0)
        if not count:
            data = array.ravel().tolist()
            return {"name": spec["name"], "datatype": spec["datatype"], "shape": list(array.shape), "data": data}
        batched = self.service["max_batch_size"] > 0
        rows = array.reshape(len(array) if batched else 1, -1)
        best = [np.argsort(-row.astype(np.float64), kind="stable")[:count].tolist() for row in rows]
        data = [self._named(row[index], index) for row, places in zip(rows, best, strict=True) for index in places]
        shape = [len(rows), len(best[0])] if batched else [len(best[0])]
        return {"name": spec["name"], "datatype": "BYTES", "shape": shape, "data": data}

    def _named(self, value, index):
        """As Triton writes a class: value, index, and its label where there is one."""
        labels = self.service["labels"]
        number = f"{value:f}" if isinstance(value, np.floating) else str(value)
        return f"{number}:{index}" + (f":{labels[index]}" if index < len(labels) else "")

    def _feed(self, inputs):
        given = {}
        for item in inputs:
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                raise RequestError(EXPECTED)
            if name in given:
                raise RequestError(f"input {name!r} stands twice in the request")
            given[name] = item
        if unknown := sorted(given.keys() - {spec["name"] for spec in self.service["inputs"]}):
            raise RequestError(f"unknown input {unknown[0]!r}")
        return {spec["name"]: self._tensor(spec, given.get(spec["name"])) for spec in self.service["inputs"]}

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
            or not all(type(size) is int and size > 0 for size in shape)
            or any(size != fixed for size, fixed in zip(shape, wanted, strict=True) if fixed > 0)
        ):
            raise RequestError(f"input {name!r} takes shape {wanted} (-1 is any size), the request says {shape}")
        parameters = item.get("parameters")
        if isinstance(parameters, dict) and parameters.keys() & {"binary_data_size", "shared_memory_region"}:
            raise RequestError(f"input {name!r}: this server reads tensors from data, as JSON")
        return self._array(spec, item.get("data"), shape)

    def _array(self, spec, data, shape):
        """Of lists in lists the numbers count in their order, whatever the lists, as in Triton."""
        name, (dtype, kinds) = spec["name"], DTYPES[spec["datatype"]]
        if not isinstance(data, list):
            raise RequestError(f"input {name!r}: data is a list, the request says {type(data).__name__}")
        values = flat(data)
        if others := sorted(kind.__name__ for kind in set(map(type, values)) - kinds):
            raise RequestError(f"input {name!r}: {spec['datatype']} holds no {others[0]}")
        try:
            with np.errstate(over="ignore"):
                return np.array(values, dtype=dtype).reshape(shape)
        except (ValueError, OverflowError) as error:
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


def flat(data):
    """The values of lists in lists, in order. Raises RequestError for more lists than anybody needs."""
    if not any(isinstance(item, list) for item in data):
        return data
    try:
        return [value for item in data for value in (flat(item) if isinstance(item, list) else [item])]
    except RecursionError:
        raise RequestError("data: too many lists in lists") from None


def check_parameters(parameters):
    """Triton's rule: numbers, texts and flags. What they ask of its queue there is none here to do."""
    if not isinstance(parameters, dict):
        raise RequestError("parameters is a mapping")
    for key, value in parameters.items():
        wrong = not isinstance(value, READ.get(key, (int, float, str)))
        if wrong or (key in READ and (value is True or value is False or (isinstance(value, int) and value < 0))):
            raise RequestError(f"parameter {key!r} cannot be {value!r}")


@functools.cache
def model():
    """The model beside this file, loaded once."""
    return Model(Path(__file__).resolve().parent)


def init():
    """Azure ML calls this once."""
    model()


def run(raw_data):
    """Azure ML calls this with the body of each request; what it returns becomes the response's JSON."""
    try:
        return model().infer(read(raw_data))
    except RequestError as error:
        # Azure ML's server has it, and nothing else does.
        from azureml_inference_server_http.api.aml_response import AMLResponse  # pyright: ignore[reportMissingImports]

        return AMLResponse({"error": str(error)}, 400, json_str=True)


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
            self._answer(200, model().infer(read(body)))
        except RequestError as error:
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
