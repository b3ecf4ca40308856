"""Stack files with oddities that were drawn: settings, or an error that names the key and what to write there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.contracts.pulumi_yaml import stack_file_lines
from spillway.twin.deployer.api import ConfigError
from spillway.twin.deployer.project import read_project, read_stack_config
from stacks.errors import StackConfigError
from stacks.settings import StackSettings
from stacks.stack_file import read_settings
from tests.stacks.files import PASSPHRASE, example, project

STACKS = {name: example(name) for name in ("local", "prod")}
VALUES: list[Any] = [
    None, "", " ", "no", "~", 0, -1, 10**30, 1e308, float("nan"), float("inf"), True, [], {}, [None], [[]], {"": ""},
    {"a": {"b": []}}, "é💥", "a" * 300, "../..", "a:b", "${x}", "\x00", "0x10", "12:30", "2026-01-01", "null",
    [1, "a", None],
]  # fmt: skip
NOISE = ["\t", "\x00", "config:\n", "- a\n", "&a [*a]\n", "'", "%YAML 9.9\n---\n", "\ufeff", "é: [", "...\n", "<<: 1\n"]


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of everything in a structure, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(path for key, one in inner for path in paths(one, (*above, key)))]


PATHS = {name: paths(config)[1:] for name, config in STACKS.items()}


def read(folder: Path) -> StackSettings:
    """As a command reads it. Raises ``ConfigError``, or ``StackConfigError``, with the file in its text."""
    found = read_project(folder)
    config = read_stack_config(found, "test", PASSPHRASE)
    try:
        return read_settings(config.values, hidden=config.secret_keys)
    except StackConfigError as error:
        file = found.stack_file("test")
        for problem in error.problems:
            assert ":" in problem.key, problem
            assert problem.said.partition("; ")[2], f"no remedy: {problem}"
        raise ConfigError(error.about(str(file), stack_file_lines(file.read_text(encoding="utf-8-sig")))) from None


def written(folder: Path, text: str) -> Path:
    (folder / "config" / "Pulumi.test.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("odd"), {})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(STACKS)),
    at=st.floats(0, 1, exclude_max=True),
    how=st.sampled_from(["value", "value", "value", "gone", "renamed", "twice"]),
    odd=st.one_of(st.sampled_from(VALUES), st.text(max_size=8), st.integers(), st.floats()),
)
def test_a_value_is_taken_or_refused_with_its_place(folder: Path, name: str, at: float, how: str, odd: Any) -> None:
    path = PATHS[name][int(at * len(PATHS[name]))]
    config = copy.deepcopy(STACKS[name])
    around: Any = config
    for key in path[:-1]:
        around = around[key]
    if how == "gone":
        around.pop(path[-1])
    elif how == "renamed" and isinstance(around, dict):
        around[f"{path[-1]}x"] = around.pop(path[-1])
    elif how == "twice" and isinstance(around, list):
        around.append(around[path[-1]])
    else:
        around[path[-1]] = odd
    taken_or_refused(written(folder, yaml.safe_dump({"config": config}, allow_unicode=True)), "Pulumi.test.yaml")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), noise=st.sampled_from(NOISE), length=st.integers(0, 400))
def test_a_text_is_taken_or_refused_with_its_file(folder: Path, at: float, noise: str, length: int) -> None:
    text = yaml.safe_dump({"config": STACKS["local"]}, allow_unicode=True)
    place = int(at * len(text))
    taken_or_refused(written(folder, text[:place] + noise + text[place + length :]), "Pulumi.test.yaml")


def taken_or_refused(folder: Path, named: str) -> None:
    try:
        said = f"{named} {read(folder).name}"
    except ConfigError as refusal:
        said = str(refusal)
    assert named in said
