"""One ``up`` of the program in a process of its own, which ends itself at a given moment.

``python up_and_die.py <folder> <endpoints as JSON> <moment>``; a moment is ``before:<n>`` or ``after:<n>`` (the n-th
create), ``write:<n>`` (half-way through the n-th write of the checkpoint) or ``never``.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from spillway.twin.deployer.checkpoint import Checkpoint
from tests.program.servers import stand_ins
from tests.stacks.files import deployer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_around_create(made: Any, when: str, number: int, count: itertools.count[int]) -> None:
    create = made.create

    def counted(urn: str, type_: str, inputs: Any) -> Any:
        this = next(count) == number
        if this and when == "before":
            die()
        state = create(urn, type_, inputs)
        if this:
            die()
        return state

    made.create = counted


def die_in_write(number: int) -> None:
    whole, count = Checkpoint.write, itertools.count(1)

    def half(self: Checkpoint, text: str) -> None:
        if next(count) == number:
            self.path.with_suffix(".tmp").write_text(text[: len(text) // 2])
            die()
        whole(self, text)

    patched: Any = half
    Checkpoint.write = patched


def main() -> None:
    folder, endpoints, moment = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    made = stand_ins(endpoints)
    when, _, number = moment.partition(":")
    if when == "write":
        die_in_write(int(number))
    elif when != "never":
        count = itertools.count(1)
        for stand_in in made:
            die_around_create(stand_in, when, int(number), count)
    deployer(folder, made).up()


if __name__ == "__main__":
    main()
