"""The link from a name to the version that stack files mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_packaging.registry.builds import StoreConfigError, point_at


def test_current_leads_to_the_newest_package_and_moves_with_the_store(tmp_path: Path) -> None:
    first, second = tmp_path / "store" / "one", tmp_path / "store" / "two"
    first.mkdir(parents=True)
    second.mkdir()
    assert point_at(first).resolve() == first
    link = point_at(second)
    assert link.resolve() == second
    assert sorted(path.name for path in link.parent.iterdir()) == ["current", "one", "two"]
    moved = (tmp_path / "store").rename(tmp_path / "elsewhere")
    assert (moved / "current").resolve() == moved / "two"


def test_a_folder_named_current_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    (tmp_path / "one").mkdir()
    with pytest.raises(StoreConfigError, match="no link"):
        point_at(tmp_path / "one")
