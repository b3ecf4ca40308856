"""The manifest's reference page is what the models say."""

from __future__ import annotations

from model_packaging.reference import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m model_packaging.reference`"
