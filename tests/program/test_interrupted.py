"""``up`` of the local stack on the real servers, killed again and again: the next one goes on, and nothing is doubled.

One deployment is killed at one moment after the other, each time from where the last one died, so that every recovery
but the last is itself interrupted. Then one ``up`` is let through.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.twin.provider import Properties, ResourceState, StandInError
from tests.program.inventory import COUNTED, in_the_checkpoint, in_the_clouds
from tests.program.site import Site, site
from tests.stacks.files import ROOT, deployer

pytestmark = pytest.mark.heavy

_DICE = random.Random(3)
MOMENTS = ["before:20", "after:20", "write:30"]
MORE_MOMENTS = [f"{_DICE.choice(('before', 'after', 'write'))}:{_DICE.randint(1, 20)}" for _ in range(10)]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = site(tmp_path_factory.mktemp("local"), "local")
    yield made
    made.servers.stop()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_nothing_that_the_checkpoint_does_not_know(local: Site, moment: str) -> None:
    kill_leaves_nothing_unknown(local, moment)


@pytest.mark.soak
def test_the_next_up_converges_without_doubles(local: Site) -> None:
    next_up_converges(local)


def test_after_a_reboot_up_makes_again_what_the_cloud_forgot(local: Site) -> None:
    before = in_the_checkpoint(local.deployer.up().resources)
    local.servers.stop("aws")
    local.servers.start("aws")
    assert not any(type_.startswith("aws:") for type_ in in_the_clouds(local.servers.endpoints))
    made = local.deployer.up(refresh=True)
    assert made.changes["create"] > 50
    assert in_the_clouds(local.servers.endpoints) == in_the_checkpoint(made.resources) == before
    assert not local.deployer.up().changed


def test_every_create_of_prod_can_be_issued_again(tmp_path: Path) -> None:
    """As after a kill between a create and the checkpoint, for each resource: the same comes back."""
    prod = site(tmp_path, "prod")
    wrong: list[str] = []

    def twice(create: Callable[..., ResourceState]) -> Callable[..., ResourceState]:
        def both(urn: str, type_: str, inputs: Properties) -> ResourceState:
            made = create(urn, type_, inputs)
            try:
                again = create(urn, type_, inputs).id
            except StandInError as error:
                again = str(error)
            if again != made.id:
                wrong.append(f"{type_} {made.id}: {again}")
            return made

        return both

    try:
        made: list[Any] = prod.servers.stand_ins()
        for stand_in in made:
            stand_in.create = twice(stand_in.create)
        assert deployer(prod.folder, made).up().changes["create"] > 300
    finally:
        prod.servers.stop()
    assert wrong == []


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_kills_at_random_moments_leave_nothing_unknown(tmp_path: Path) -> None:
    local = site(tmp_path, "local")
    try:
        for moment in MORE_MOMENTS:
            kill_leaves_nothing_unknown(local, moment)
        next_up_converges(local)
    finally:
        local.servers.stop()


def kill_leaves_nothing_unknown(at: Site, moment: str) -> None:
    """Whatever stands in the clouds after a kill at ``moment``, the checkpoint knows."""
    assert _up_and_die(at, moment) == -signal.SIGKILL
    known = _known(at)
    assert {type_: count for type_, count in in_the_clouds(at.servers.endpoints).items() if count > known[type_]} == {}


def next_up_converges(at: Site) -> None:
    """Nothing is missing after it, and nothing there twice."""
    assert _up_and_die(at, "never") == 0
    assert not at.deployer.up().changed
    standing = in_the_checkpoint(at.deployer.resources())
    assert len(standing) > 20
    assert in_the_clouds(at.servers.endpoints) == standing


def _up_and_die(at: Site, moment: str) -> int:
    command = [
        sys.executable,
        "-m",
        "tests.program.up_and_die",
        str(at.folder),
        json.dumps(at.servers.endpoints),
        moment,
    ]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    print(ended.stdout[-4000:])
    return ended.returncode


def _known(at: Site) -> Counter[str]:
    """By type, what stands in the checkpoint or may: what was being made when it was last written."""
    path = at.folder / "state" / "test.json"
    deployment = json.loads(path.read_text())["deployment"]
    begun = [item["resource"] for item in deployment["pending_operations"] if item["type"] == "creating"]
    return Counter(item["type"] for item in (*deployment["resources"], *begun) if item["type"] in COUNTED)
