"""Stages: whatever is promoted and rolled back, the current version is the one that people expect."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_packaging.registry.objects import RegistryError, open_objects
from model_packaging.registry.stages import Stages

VERSIONS = [f"{digit}" * 16 for digit in "abc"]


@settings(max_examples=40)
@given(steps=st.lists(st.sampled_from([*VERSIONS, "rollback"]), max_size=12))
def test_a_roll_back_undoes_the_promotion_that_counts(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(open_objects(folder), "echo")
        held: list[str] = []
        records = 0
        for step in steps:
            if step != "rollback":
                changed = stages.promote("production", step)
                assert changed == (held[-1:] != [step])
                records += changed
                held += [step] if changed else []
            elif len(held) > 1:
                assert stages.rollback("production") == (held[-1], held[-2])
                held.pop()
                records += 1
            else:
                with pytest.raises(RegistryError, match="cannot be rolled back"):
                    stages.rollback("production")
            assert stages.current("production") == (held[-1] if held else None)
            assert [record.number for record in stages.history("production")] == list(range(1, records + 1))
        assert stages.current("canary") is None


def test_a_store_that_ignores_conditions_is_noticed(tmp_path: Path) -> None:
    """Two writers create the same record, and the store lets both: the one whose record is gone is told."""
    objects, other = open_objects(str(tmp_path)), Stages(open_objects(str(tmp_path / "other")), "echo")
    other.promote("production", VERSIONS[1])
    (theirs,) = (tmp_path / "other").rglob("00000001.json")

    def careless(key: str, data: bytes) -> None:
        objects.replace(key, data)
        objects.replace(key, theirs.read_bytes())

    objects.create = careless
    with pytest.raises(RegistryError, match=f"at the same time, to {VERSIONS[1]}"):
        Stages(objects, "echo").promote("production", VERSIONS[0])
