from __future__ import annotations

from pathlib import Path

from spillway.twin.kubernetes import docs

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "twin-kubernetes.md"


def test_the_docs_table_is_current() -> None:
    assert docs.updated(PAGE.read_text()) == PAGE.read_text()
