"""Real builds of a small model, killed at random moments, then two at once: ``build_and_die FOLDER SEED``.

A process of its own, so that each build is a fork that starts with torch imported and nothing run. Prints a JSON line.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from model_packaging.build import package
from model_packaging.config import parse_config
from model_packaging.tensors import checks, layout, onnx_export  # noqa: F401 - imported once, before the forks
from spillway.contracts.manifest import verify_package
from tests.model_packaging.intact import store_problems

KILLS = 3
_FORK = multiprocessing.get_context("fork")
_MODEL = """
import torch
from model_packaging.sources import Entry

def build():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    return Entry(module, [{"input": torch.randn(2, 4)} for _ in range(4)], output="SCORES")
"""


def main(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small_model.py").write_text(_MODEL)
    values: dict[str, Any] = {
        "name": "scores",
        "source": {"kind": "python", "entry": "small_model:build", "licence": "MIT"},
        "variants": [{"precision": "fp32", "min_cosine": 0.9999}],
        "latency": {"batch_sizes": [1], "repeats": 3},
    }
    config = parse_config(values, base_dir=folder)

    def start(store: Path) -> Any:
        process = _FORK.Process(target=lambda: package(config, store))
        process.start()
        return process

    begun = time.monotonic()
    whole = start(folder / "whole")
    whole.join()
    seconds = time.monotonic() - begun

    chosen, problems, killed = random.Random(seed), [], 0
    store = folder / "store"
    for _ in range(KILLS):
        process = start(store)
        process.join(chosen.uniform(0.05, 0.95) * seconds)
        killed += process.is_alive()
        process.kill()
        process.join()
        problems += store_problems(store)
    pair = [start(store), start(store)]
    for process in pair:
        process.join()
    found = sorted((store / "scores").iterdir())
    told = {
        "seed": seed,
        "seconds": seconds,
        "exit_codes": [whole.exitcode, *(process.exitcode for process in pair)],
        "killed": killed,
        "problems": problems,
        "left": [path.name for path in found],
        "digests": [
            verify_package(path).digest for path in (*(folder / "whole/scores").glob("[!.]*"), *found) if path.is_dir()
        ],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), int(sys.argv[2]))
