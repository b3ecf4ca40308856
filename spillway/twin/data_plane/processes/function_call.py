"""One deployed function's warm environment: its own files first, the repository's never.

``python -P function_call.py HANDLER`` with the function's folder in ``PYTHONPATH``. Each line on standard input is an
event, each line on standard output its answer: ``{"value": ...}`` or ``{"error": "..."}``, both JSON. What the function
prints goes to standard error. Imports nothing of Spillway: what is tested is what was deployed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
import uuid
from pathlib import Path


class Context:
    """What AWS Lambda hands to a handler, as far as it makes sense here."""

    def __init__(self) -> None:
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = "$LATEST"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        self.aws_request_id = str(uuid.uuid4())
        self._ends = time.monotonic() + float(os.environ.get("SPILLWAY_FUNCTION_TIMEOUT", "3"))

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self._ends - time.monotonic()) * 1000), 0)


def forget_the_repository() -> None:
    """An editable install puts it on the path: a module that is missing in the archive has to be missing."""
    sys.path[:] = [entry for entry in sys.path if not (Path(entry or ".") / "pyproject.toml").is_file()]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not _module_of(finder).startswith("__editable__")]


def _module_of(finder: object) -> str:
    return getattr(finder, "__module__", "") or ""


def main() -> None:
    forget_the_repository()
    answers, sys.stdout = sys.stdout, sys.stderr
    module, _, name = sys.argv[1].rpartition(".")
    handler = None
    for line in sys.stdin:
        try:
            # A module that cannot be imported fails each call, as it does in Lambda.
            handler = handler or getattr(importlib.import_module(module), name)
            answer = {"value": handler(json.loads(line), Context())}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
