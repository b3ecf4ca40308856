"""One word for one thing: holds the code against `docs/contributing/glossary.md`.

A row of the glossary's second table refuses a pattern that fits a whole fact of a source file. Facts are

- `class Name(Base, Other)`: a class and its bases,
- `field name: type`: a name with a type in a class,
- `name some_name`: a variable, argument, attribute, keyword, function or class,
- `text some text`: a string of one line that is no docstring,
- `component name`: what a Pulumi component is called; of an f-string, its fixed parts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "contributing" / "glossary.md"
HEAD = "| word | refused | but in | because |"


@dataclass(frozen=True)
class Rule:
    """``but_in``: files in which the pattern is right (shell patterns)."""

    word: str
    refused: re.Pattern[str]
    but_in: tuple[str, ...]

    def breaches(self, path: str, facts: set[str]) -> list[str]:
        """What the file says and should not."""
        if any(fnmatchcase(path, pattern) for pattern in self.but_in):
            return []
        return [f"{path}: {fact} ({self.word})" for fact in sorted(facts) if self.refused.fullmatch(fact)]


def read_rules(page: str) -> list[Rule]:
    """The rows of the table that begins with :data:`HEAD`. Raises ``ValueError`` for one without a pattern."""
    rows = page.partition(HEAD)[2].strip().splitlines()[1:]
    found = []
    for row in rows:
        # A bar inside a cell is written `\|`.
        word, refused, but_in, _ = (cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1])
        if not re.fullmatch(r"`.+`", refused):
            raise ValueError(f"{row!r} refuses nothing: write a pattern between backticks in the second column")
        found.append(Rule(word, re.compile(refused.strip("`")), tuple(re.findall(r"`([^`]+)`", but_in))))
    return found


def facts(source: str) -> set[str]:
    """What a source file says, docstrings aside."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {fact for node in ast.walk(tree) if id(node) not in docstrings for fact in _facts(node)}


def _facts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.ClassDef(name=name, bases=bases, body=body):
            yield f"class {name}({', '.join(map(ast.unparse, bases))})"
            yield f"name {name}"
            for part in body:
                if isinstance(part, ast.AnnAssign):
                    yield f"field {ast.unparse(part.target)}: {ast.unparse(part.annotation)}"
            if "Component" in map(ast.unparse, bases):
                yield from _component(node)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield f"name {name}"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield f"name {name}"
        case ast.arg(arg=str(name)) | ast.keyword(arg=str(name)):
            yield f"name {name}"
        case ast.Constant(value=str(text)) if "\n" not in text:
            yield f"text {text}"


def _component(node: ast.ClassDef) -> Iterator[str]:
    """The first argument of ``super().__init__``."""
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Attribute(attr="__init__"), args=[ast.Constant(value=str(name)), *_]):
                yield f"component {name}"
            case ast.Call(func=ast.Attribute(attr="__init__"), args=[ast.JoinedStr(values=parts), *_]):
                yield "component " + "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
