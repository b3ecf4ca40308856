"""Every key of the stack file is read by something: a key that nothing reads is a promise that nobody keeps.

The source is read for it, by name. A key counts as read where its name is read as an attribute, or through `getattr` or
`model_dump`, outside a validator, which only judges. Where several models have a key of that name, as
`log_retention_days`, it has to be read from something that may be this model: `settings.monitoring.…`, a variable set
from that, `self` in the class, or anything in a module that names the class.

What this cannot see: a key whose name is also that of something else that is read in such a module, or, where only one
model has it, anywhere. Asked with types (each field made a deprecated property, and pyright's findings counted), the
question took minutes and had the same answer on the day this was written.
"""

from __future__ import annotations

import ast
import inspect
import typing
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel

from policies.settings import PoliciesSettings
from stacks.settings import StackSettings
from tests.support.paths import ROOT

ROOMS = ("components", "stacks", "policies", "spillway")
VALIDATORS = ("field_validator", "model_validator")
EVERYTHING = "*"


@dataclass(frozen=True)
class Key:
    """A field: the model that first declares it, the names of that and its heirs, and the keys at which they stand."""

    model: type[BaseModel]
    name: str
    classes: frozenset[str]
    places: frozenset[str]

    def __str__(self) -> str:
        return f"{self.model.__name__}.{self.name}"


@dataclass
class Source:
    """What one file reads: (name, what it is read from), the names that it mentions, and what stands for which key."""

    reads: set[tuple[str, str]] = field(default_factory=set)
    mentions: set[str] = field(default_factory=set)
    aliases: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def reads_from(self, name: str) -> set[str]:
        """What ``name`` is read from; of a variable also the key that it was set from."""
        direct = {base for read, base in self.reads if read in (name, EVERYTHING)}
        return direct.union(*(self.aliases[base] for base in direct & self.aliases.keys()))

    def reads_key(self, key: Key, shared: bool) -> bool:
        """``shared``: whether other models have a key of this name."""
        named = any(name == key.name for name, _ in self.reads)
        if named and (not shared or key.classes & self.mentions):
            return True
        return bool(self.reads_from(key.name) & (key.places | key.classes))


def keys(root: type[BaseModel]) -> list[Key]:
    """Every field of every model reachable from ``root``."""
    places: dict[type[BaseModel], set[str]] = {root: set()}
    models = [root]
    for model in models:
        for name, described in model.model_fields.items():
            for inner in _models(described.annotation):
                if inner not in places:
                    models.append(inner)
                places.setdefault(inner, set()).add(name)
    users: dict[tuple[type[BaseModel], str], set[type[BaseModel]]] = defaultdict(set)
    for model in models:
        for name in model.model_fields:
            # What is declared anew in an heir may be read through the first.
            first = [base for base in model.__mro__ if name in inspect.get_annotations(base)][-1]
            users[first, name] |= {first, model}
    return [
        Key(
            first,
            name,
            frozenset(model.__name__ for model in found),
            frozenset(place for model in found for place in places.get(model, ())),
        )
        for (first, name), found in users.items()
    ]


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def source(text: str) -> Source:
    reader = _Reader()
    reader.visit(ast.parse(text))
    return reader.source


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.source = Source()
        self.classes: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.classes.append(node.name)
        self.generic_visit(node)
        self.classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if not any(name in ast.dump(decorator) for decorator in node.decorator_list for name in VALIDATORS):
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self.source.reads.add((node.attr, self._name(node.value)))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.source.mentions.add(node.id)

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[value, key, *_]):
                name = str(key.value) if isinstance(key, ast.Constant) else EVERYTHING
                self.source.reads.add((name, self._name(value)))
            case ast.Call(func=ast.Attribute(attr="model_dump", value=value), keywords=keywords):
                chosen = [n for k in keywords if k.arg == "include" for n in ast.walk(k) if isinstance(n, ast.Constant)]
                names = [str(constant.value) for constant in chosen] or [EVERYTHING]
                self.source.reads |= {(name, self._name(value)) for name in names}
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._alias(target, node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._alias(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._alias(node.target, node.iter)
        self.generic_visit(node)

    def _alias(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values):
                for one, other in zip(targets, values, strict=False):
                    self._alias(one, other)
            case ast.Name(id=name), _:
                self.source.aliases[name].add(self._name(value))

    def _name(self, value: ast.expr) -> str:
        """The last name of an expression, items of a mapping or list left out; for ``self`` the class."""
        match value:
            case ast.Subscript(value=inner) | ast.Call(func=ast.Attribute(attr="get" | "values", value=inner)):
                return self._name(inner)
            case ast.Name(id="self") if self.classes:
                return self.classes[-1]
            case ast.Attribute(attr=name) | ast.Name(id=name):
                return name
        return ""


def unread(found: list[Key], sources: list[Source]) -> list[str]:
    """The keys that nothing reads."""
    owners = Counter(key.name for key in found)
    return [str(key) for key in found if not any(each.reads_key(key, owners[key.name] > 1) for each in sources)]


def test_every_key_is_read() -> None:
    # A policy's key is the policy's own name: the pack looks it up by that, and runs every policy.
    found = [key for key in keys(StackSettings) if key.model is not PoliciesSettings and key.name != "policies"]
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert unread(found, [source(path.read_text(encoding="utf-8")) for path in files]) == [], (
        "nothing reads these keys: wire them, or take them out and tell old files so (stacks/former_keys.py)"
    )


class _Store(BaseModel):
    days: int
    size: int


class _Logs(BaseModel):
    days: int


class _Root(BaseModel):
    store: _Store
    logs: _Logs | None = None


STARTS = "root.store\nroot.logs\nroot.store.size\n"


def test_a_name_of_two_models_is_told_apart_by_what_it_is_read_from() -> None:
    assert unread(keys(_Root), [source(f"{STARTS}root.store.days")]) == ["_Logs.days"]
    assert unread(keys(_Root), [source(f"{STARTS}one, two = 1, root.logs\ntwo.days")]) == ["_Store.days"]
    assert unread(keys(_Root), [source(f"{STARTS}def f(logs: _Logs, kept: _Store): kept.days")]) == []


def test_an_item_of_a_mapping_stands_for_its_key() -> None:
    read = "found = root.logs.get('x')\nfound.days\nroot.store['x'].days"
    assert unread(keys(_Root), [source(STARTS + read)]) == []


def test_a_validator_or_an_assignment_is_no_reader() -> None:
    validator = "class _Store:\n  @model_validator(mode='after')\n  def check(self): self.size"
    assert "_Store.size" in unread(keys(_Root), [source(f"root.store\nroot.logs\n{validator}\nroot.store.size = 1")])


def test_a_whole_dump_reads_every_key_and_a_chosen_one_what_it_chooses() -> None:
    whole = f"{STARTS}root.store.model_dump()\nroot.logs.model_dump()"
    assert unread(keys(_Root), [source(whole)]) == []
    chosen = f"{STARTS}root.store.model_dump()\nroot.logs.model_dump(include={{'size'}})"
    assert unread(keys(_Root), [source(chosen)]) == ["_Logs.days"]
