"""Runs one ``up`` in a process of its own, so that it can be killed: ``python crash_driver.py <project> [write:<n>]``.

``write:<n>`` kills it in the middle of its n-th write of the checkpoint. ``DEMO_KILL`` kills it inside the cloud.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from spillway.twin.deployer.checkpoint import Checkpoint
from spillway.twin.deployer.embedded import EmbeddedDeployer
from tests.support.memory_cloud import DemoStandIn, MemoryCloud
from tests.twin.deployer.conftest import PASSPHRASE


def die_in_write(number: int) -> None:
    whole = Checkpoint.write
    count = 0

    def half(self: Checkpoint, text: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            self.path.with_suffix(".tmp").write_text(text[: len(text) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self, text)

    patched: Any = half
    Checkpoint.write = patched


def main() -> None:
    root = Path(sys.argv[1])
    if len(sys.argv) > 2:
        die_in_write(int(sys.argv[2].removeprefix("write:")))
    EmbeddedDeployer(root, "test", root / "state", [DemoStandIn(MemoryCloud(root / "cloud.json"))], PASSPHRASE).up()


if __name__ == "__main__":
    main()
