"""The code does not become longer, more tangled or more ambiguous than `docs/contributing/figures.md` says it is."""

from __future__ import annotations

import pytest

from scripts import figures, glossary
from scripts.figures import FIGURES, PAGE, Figure, ceilings, lowered

RULES = glossary.read_rules(glossary.PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_does_not_grow(name: str) -> None:
    figure = Figure(name, tuple(FIGURES[name]()), ceilings(PAGE.read_text(encoding="utf-8"))[name])
    assert not figure.exceeded, f"at most {figure.most}, but:\n" + "\n".join(figure.found)


def test_the_page_has_every_figure_and_no_other() -> None:
    assert set(ceilings(PAGE.read_text(encoding="utf-8"))) == set(FIGURES)


def test_a_ceiling_is_lowered_and_never_raised() -> None:
    page = "| figure | at most |\n| --- | ---: |\n| one | 5 |\n| two | 5 |\n"
    found = [Figure("one", ("a",), 5), Figure("two", ("a",) * 9, 5)]
    assert lowered(page, found) == page.replace("| one | 5 |", "| one | 1 |")


def test_long_functions_and_modules_are_found() -> None:
    body = "\n".join("    x = 1" for _ in range(50))
    assert list(figures.long_functions({"a.py": f"def f():\n{body}\n", "b.py": f"def f():\n{body[10:]}\n"})) == [
        "a.py:1 f: 51 lines"
    ]
    assert list(figures.long_modules({"a.py": "x\n" * 601, "b.py": "x\n" * 600})) == ["a.py: 601 lines"]


def test_every_circle_is_found_once() -> None:
    assert list(figures.circles({"a": ["b"], "b": ["c"], "c": []})) == []
    assert len(list(figures.circles({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["e"], "e": ["c"]}))) == 2


def test_a_name_counts_once_for_folders_that_are_alike() -> None:
    files = [
        "one/x/plan.py",
        "one/y/plan.py",
        "two/plan.py",
        "three/plan.py",
        "a/errors.py",
        "b/errors.py",
        "c/errors.py",
    ]
    assert list(figures.repeated_names(files, [("errors.py",)])) == ["plan.py: one/x, one/y, three, two"]
    assert len(list(figures.repeated_names(files[:4], [("one/*",)]))) == 1
    assert list(figures.repeated_names(files[:3], [("one/*",)])) == []


def test_a_file_that_names_a_site_counts_unless_it_is_the_sites_own() -> None:
    words = ("azure_ml", "azureml", "Azure ML", "AzureMl", "AZURE_ML", "sagemaker", "SageMaker", "SAGEMAKER")
    files = {f"stacks/{number}.py": f"# {word}" for number, word in enumerate(words)}
    assert list(figures.names_a_site(files)) == list(files)
    own = (
        "components/burst/azure_ml/route.py",
        "policies/rules/sagemaker.py",
        "spillway/twin/aws/services/sagemaker.py",
    )
    assert list(figures.names_a_site(dict.fromkeys(own, "sagemaker azure_ml"))) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("spillway/cli/x.py", "class DeployerThing: ..."),
        ("spillway/twin/deployer/x.py", "class EmbeddedEngine: ..."),
        ("spillway/drill/x.py", "class Plan: ..."),
        ("components/x.py", "class Target(Frozen): ..."),
        ("spillway/contracts/x.py", "class Price(Settings): ..."),
        ("components/x/settings.py", "class Limits(Settings):\n    burst: int = 1"),
        ("components/x/settings.py", "class Pool(Settings):\n    dollars_per_hour: float"),
        ("components/x/settings.py", "class Pool(Settings):\n    max_size: int"),
        ("stacks/x.py", "azureml = 1"),
        ("stacks/x.py", "x = 'azure-ml'"),
        ("components/x.py", "class X(Component):\n    def __init__(self):\n        super().__init__('burst_x', 1)"),
        ("components/x.py", "class X(Component):\n    def __init__(self):\n        super().__init__(f'a_{b}', 1)"),
    ],
)
def test_the_glossary_refuses_a_second_meaning(path: str, source: str) -> None:
    assert len(list(figures.double_meanings({path: source}, RULES))) == 1


def test_the_glossary_lets_a_word_stand_where_it_belongs() -> None:
    files = {
        "spillway/planner/plan.py": "class Plan: ...",
        "spillway/drill/plan.py": "class DrillPlan: ...",
        "components/x/settings.py": "class X(Settings):\n    min_nodes: int\n    usd_per_hour: float",
        "components/burst/x.py": '"""azureml"""\nclass AzureMl:\n    azure_ml: int',
        "components/x.py": "class X(Component):\n    def __init__(self):\n        super().__init__('burst-x', 1)",
    }
    assert list(figures.double_meanings(files, RULES)) == []


def test_a_rule_without_a_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="refuses nothing"):
        glossary.read_rules(f"{glossary.HEAD}\n| --- | --- | --- | --- |\n| word | no pattern | | |\n")
