"""Stack files with oddities that were drawn: settings, or an error that names the key and what to write there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.contracts.pulumi_yaml import stack_file_lines
from spillway.twin.deployer.api import ConfigError
from spillway.twin.deployer.project import read_project, read_stack_config
from stacks.errors import StackConfigError
from stacks.settings import StackSettings
from stacks.stack_file import read_settings
from tests.stacks.files import PASSPHRASE, example, project
from tests.support.oddities import odd_texts, odd_values

STACKS = {name: example(name) for name in ("local", "prod")}


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
@given(text=st.sampled_from(sorted(STACKS)).flatmap(lambda name: odd_values({"config": STACKS[name]}, ("config",))))
def test_a_value_is_taken_or_refused_with_its_place(folder: Path, text: str) -> None:
    taken_or_refused(written(folder, text), "Pulumi.test.yaml")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=odd_texts({"config": STACKS["local"]}))
def test_a_text_is_taken_or_refused_with_its_file(folder: Path, text: str) -> None:
    taken_or_refused(written(folder, text), "Pulumi.test.yaml")


def taken_or_refused(folder: Path, named: str) -> None:
    try:
        said = f"{named} {read(folder).name}"
    except ConfigError as refusal:
        said = str(refusal)
    assert named in said
