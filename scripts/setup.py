"""Set up `.venv` from the pinned versions. Needs only Python; run by `make`.

A torch that the base interpreter already has is used; otherwise the one from the package index comes with its CUDA
libraries, about 2.6 GB.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
LOCK = ROOT / "requirements" / "lock.txt"
EXAMPLE_MODELS = ROOT / "requirements" / "example-models.txt"
STAMP = ENVIRONMENT / ".ready"
WITH_TORCH = re.compile(r"^(torch==|triton==|nvidia-|cuda-)")


def has_torch(version: str) -> bool:
    """Whether the base interpreter has the pinned torch already."""
    probe = f"import torch, sys; sys.exit(torch.__version__.split('+')[0] != {version!r})"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - this runs before anything checks requires-python
        print(f"Spillway needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    pins = LOCK.read_text().splitlines()
    torch_version = next(line.split("==")[1] for line in pins if line.startswith("torch=="))
    uv_version = next(line.split("==")[1] for line in pins if line.startswith("uv=="))
    reuse = has_torch(torch_version)
    if reuse:
        print(f"Using the torch {torch_version} that is here already.", flush=True)
        pins = [line for line in pins if not WITH_TORCH.match(line)]
    else:
        print(f"Installing torch {torch_version} with its CUDA libraries: about 2.6 GB to fetch.", flush=True)
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True, system_site_packages=reuse)
    chosen = ENVIRONMENT / "requirements.txt"
    chosen.write_text("\n".join(pins) + "\n")
    install = [str(PYTHON), "-m", "uv", "pip", "install", "--python", str(PYTHON), "--quiet"]
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", f"uv=={uv_version}"], check=True)
    tools = [str(PYTHON), "-m", "spillway.twin.tools"]
    # Beside the packages, which take longer. What it cannot fetch it says below.
    with subprocess.Popen(tools, cwd=ROOT, stderr=subprocess.DEVNULL):
        subprocess.run([*install, "--requirement", str(chosen)], check=True)
        unaided = ["--no-deps", "--requirement", str(EXAMPLE_MODELS), "--editable", str(ROOT)]
        subprocess.run([*install, *unaided], check=True)
    subprocess.run(tools, cwd=ROOT, check=True)
    # The planner's first run would take ten seconds more, and so would each of the workers that test it.
    subprocess.run([str(PYTHON), "scripts/compile_kernel.py"], cwd=ROOT, check=True)
    STAMP.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
