"""Starts vLLM on Azure ML with the arguments that the deployment gives as a variable (`SPILLWAY_VLLM_ARGUMENTS`).

Azure ML mounts the model and says where in `AZUREML_MODEL_DIR`; the files are there or one folder below.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def command() -> list[str]:
    """The command line of vLLM."""
    root = Path(os.environ["AZUREML_MODEL_DIR"])
    found = sorted(path.parent for pattern in ("config.json", "*/config.json") for path in root.glob(pattern))
    if not found:
        sys.exit(f"{root} holds no config.json: the model is not a package for vLLM")
    words = json.loads(os.environ["SPILLWAY_VLLM_ARGUMENTS"])
    return ["vllm", "serve", str(found[0]), *(word.replace("{folder}", str(found[0])) for word in words)]


if __name__ == "__main__":
    words = command()
    os.execvp(words[0], words)
