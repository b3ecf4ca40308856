"""Run as a program of its own: load an ONNX file, answer one batch, print the most memory that took, in bytes.

``python memory_probe.py MODEL.onnx FEED.npz THREADS``; 0 where the system does not tell.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(onnx_file: str, feed_file: str, threads: str) -> int:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    with np.load(feed_file) as feed:
        session.run(None, dict(feed))
    print(_peak_bytes())
    return 0


def _peak_bytes() -> int:
    """VmHWM: unlike getrusage's figure it starts anew with the program, not with what its parent held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
