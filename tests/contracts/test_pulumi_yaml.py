"""Stack files read as the Pulumi CLI reads them: its own reader is asked where it is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.pulumi_yaml import PulumiYamlError, config_text, dump, lines_of, load
from tests.support.paths import ROOT

SCALARS = {
    # As `pulumi config --json` printed them, v3.274.1; the last test asks again.
    "no": "no",
    "Yes": "Yes",
    "on": "on",
    "True": "true",
    "12:30": "12:30",
    "1e3": "1000",
    "1.50": "1.5",
    "5.": "5",
    ".5": "0.5",
    "0042": "34",
    "08": "8",
    "0o17": "15",
    "0x1F": "31",
    "-0b11": "-3",
    "0b12": "0b12",
    "1_000": "1000",
    "+5": "5",
    "1e400": "1e400",
    "18446744073709551615": "18446744073709551615",
    "18446744073709551616": "18446744073709552000",
    "0.0000001": "1e-7",
    "1e21": "1e+21",
    "2026-13-30": "2026-13-30",
    "'0042'": "0042",
    '"no"': "no",
    "{a: no, b: [1e3, 0042, '08'], 1: ~}": '{"1":null,"a":"no","b":[1000,34,"08"]}',
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_value_is_what_the_cli_makes_of_it(text: str) -> None:
    found = config_text(load(f"key: {text}\n")["key"])
    if found.startswith("{"):
        found = json.dumps(json.loads(found), sort_keys=True, separators=(",", ":"))
    assert found == SCALARS[text]


@pytest.mark.parametrize("text", ["2026-11-30", "2026-11-30T10:00:00Z", "2026-1-3 10:00:00", ".inf", "-.Inf", ".nan"])
def test_what_the_cli_hands_on_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(PulumiYamlError, match=r"line 2, column 6: .*(quote it|no number for Pulumi)"):
        load(f"# a comment\nkey: {text}\n")


def test_a_key_that_stands_twice_is_refused_with_both_lines() -> None:
    with pytest.raises(PulumiYamlError, match="line 4, column 3: the key 'b' stands on line 2 too"):
        load("a:\n  b: 1\n  c: 2\n  b: 3\n")


def test_broken_text_is_refused_with_its_line() -> None:
    with pytest.raises(PulumiYamlError, match="line 3"):
        load("a: 1\nb: [1,\n")


@pytest.mark.parametrize("text", ["a: &x [1, *x]\n", "a: 1\nb: &x {c: {d: *x}}\n"])
def test_what_contains_itself_is_refused_with_its_line(text: str) -> None:
    """As yaml.v3 does (decode.go, alias): anything else would never end."""
    for read in (load, lines_of):
        with pytest.raises(PulumiYamlError, match=rf"line {text.count(chr(10))}, .*contains itself"):
            read(text)


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(PulumiYamlError, match="line 1, column 201: nested deeper than 200 times"):
        load("[" * 300 + "]" * 300)


def test_merged_mappings_are_read() -> None:
    assert load("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n")["y"] == {"a": 1, "b": 3}


def test_each_key_has_its_line() -> None:
    lines = lines_of("config:\n  spillway:burst:\n    order:\n      - a\n      - {b: 1}\n")
    assert lines["config.spillway:burst"] == 2
    assert lines["config.spillway:burst.order[1].b"] == 5


_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False)
    )
    | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
    | st.sampled_from(["no", "0042", "08", "1e3", "12:30", "2026-11-30", "~", "<<", "0o7", ".inf", "1_0", "=", "!x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert load(dump({"key": value})) == {"key": value}


@pytest.mark.parametrize("path", sorted((ROOT / "stacks" / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_mean_the_same_to_every_reader(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert load(text) == yaml.safe_load(text)


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH")
def test_the_cli_itself_says_so(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: read\nruntime: python\nbackend: {url: 'file://.'}\n")
    settings = {**os.environ, "PULUMI_CONFIG_PASSPHRASE": "x", "PULUMI_HOME": str(tmp_path / "home")}

    def pulumi(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", "--non-interactive", *arguments],
            cwd=tmp_path,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pulumi("stack", "init", "test")
    file = tmp_path / "Pulumi.test.yaml"
    rows = [f"  read:k{number}: {text}\n" for number, text in enumerate(SCALARS)]
    file.write_text(file.read_text() + "config:\n" + "".join(rows))
    told = json.loads(pulumi("config", "--json", "--stack", "test"))
    found = {text: told[f"read:k{number}"]["value"] for number, text in enumerate(SCALARS)}
    assert found == SCALARS
