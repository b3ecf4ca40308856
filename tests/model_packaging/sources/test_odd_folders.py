"""Model folders made odd at random: packaged as their library computes it, or refused with the place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_packaging.config import parse_config
from model_packaging.errors import ModelConfigError
from model_packaging.sources.huggingface import model_files
from model_packaging.tensors.reference import make_reference
from model_packaging.tensors.source import load
from spillway.contracts.manifest import PackageError
from tests.model_packaging.tiny_texts import save_sentence_transformer
from tests.model_packaging.tiny_texts import settings as model_yaml

pytestmark = pytest.mark.heavy

FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "sentence_bert_config.json"),
    *("1_Pooling/config.json", "model.safetensors"),
)
VALUES: tuple[Any, ...] = (None, True, -1, 0, 3, 10**30, 2.5, "", "x", "../..", [], {}, [[]], "cls", ["mean", "max"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "parcels"
    modes = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}
    save_sentence_transformer(folder, ("Pooling", modes, {}))
    return folder


def changed(value: Any, path: list[int], odd: Any) -> Any:
    """The value with one part of it, found by the numbers, replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return odd
    step, *rest = path
    if isinstance(value, list):
        place = step % len(value)
        return [*value[:place], changed(value[place], rest, odd), *value[place + 1 :]]
    key = list(value)[step % len(value)]
    return {**value, key: changed(value[key], rest, odd)}


def make_odd(file: Path, how: str, path: list[int], odd: Any, at: float) -> None:
    data = file.read_bytes()
    place = int(at * len(data))
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(data[:place])
    elif how == "noise":
        file.write_bytes(data[:place] + b"\xff\x00" + data[place + 2 :])
    elif file.suffix == ".json":
        file.write_text(json.dumps(changed(json.loads(data), path, odd)))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(FILES),
    how=st.sampled_from(["gone", "cut", "noise", "value", "value", "value"]),
    path=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    odd=st.sampled_from(VALUES),
    at=st.floats(0, 1, exclude_max=True),
)
def test_an_answer_or_the_place_of_the_fault(
    whole: Path, tmp_path: Path, name: str, how: str, path: list[int], odd: Any, at: float
) -> None:
    folder = tmp_path / "parcels"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    make_odd(folder / name, how, path, odd, at)
    try:
        model = load(parse_config(model_yaml(folder), base_dir=tmp_path))  # pyright: ignore[reportArgumentType]
        make_reference(model)
    except (PackageError, ModelConfigError) as refusal:
        told = str(refusal)
        assert any(word in told for word in (str(folder), "source.", "config.json", "The model", "The weights")), told
        return
    assert len(model.expected) == len(model.samples)


def test_a_folder_behind_a_link_has_the_same_files(whole: Path, tmp_path: Path) -> None:
    """As an installed model has, in an environment that a link leads to."""
    (tmp_path / "linked").symlink_to(whole.parent)
    assert model_files(tmp_path / "linked" / whole.name).keys() == model_files(whole).keys()
