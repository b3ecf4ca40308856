from __future__ import annotations

from pathlib import Path

import pytest

from spillway.twin.azure import docs, generate

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "twin-azure.md"


def test_the_docs_table_is_current() -> None:
    assert docs.updated(PAGE.read_text()) == PAGE.read_text()


@pytest.mark.heavy
def test_the_catalogue_is_current() -> None:
    """Imports every SDK module that a row uses: about fifteen seconds."""
    pytest.importorskip("azure.mgmt.machinelearningservices", reason="the azure-mgmt packages are not installed")
    assert generate.text() == generate.CATALOGUE.read_text()
