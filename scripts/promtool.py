"""Build promtool from the Go module proxy, once a version, and print the folder it is in.

The alerts' unit tests run with it. It is the release that kube-prometheus-stack's pinned chart installs
(`appVersion` of the chart 77.5.0: Prometheus v3.5.0, whose Go module is v0.305.0). About five minutes of CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.go_build import go_build, run
from spillway.twin.tools import cache_folder

RELEASE = "3.5.0"
MODULE = "github.com/prometheus/prometheus"
# Prometheus' Go modules are 0.3MM.PATCH for its release 3.MM.PATCH.
VERSION = "v0.305.0"


def built() -> Path:
    """Where the program of this version is, or will be."""
    return cache_folder(f"promtool-{RELEASE}") / "promtool"


def main() -> int:
    program = built()

    def build() -> None:
        if not program.is_file():
            go_mod = f"module spillway/promtool\n\ngo 1.24.0\n\nrequire {MODULE} {VERSION}\n"
            go_build(program, f"{MODULE}/cmd/promtool", go_mod, "-s -w", gently=True)

    return run(program.parent, build)


if __name__ == "__main__":
    sys.exit(main())
