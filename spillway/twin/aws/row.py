"""What one resource type is: a row of the table. The rows are in ``services/``; ``standin.py`` acts on them.

Templates: ``"{name}"`` is the input or output of that name, with its own type when it is the whole string;
``"@Vpc.VpcId"`` is a JMESPath expression on what AWS answered (the create call's response and
what the read call found, merged). Lists and dictionaries hold templates; a function of scope and answer is one too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jmespath

from spillway.twin.aws.sample import Sample

Coverage = Literal["moto", "filled", "recorded"]
"""Who does the work: moto, our server in moto's place, or nobody (checked and remembered, without any effect)."""

Scope = dict[str, Any]
"""Names for templates: inputs, outputs, ``id``, ``account``, ``region``, ``partition``, ``urn``, ``call``."""

Template = Any
Build = Callable[[Scope], list[dict[str, Any]]]


@dataclass(frozen=True)
class Part:
    """A call that sets some of the inputs, after the create call and again whenever one of them changes.

    ``takes``: the inputs, empty for all that the operation knows. ``key``: parameters that name the resource, the row's
    by default. ``build`` makes the parameters itself, one dictionary a call. ``undo``: the operation for when all
    inputs were taken away. ``update_only``: makes no sense at creation. ``@create`` in ``takes``: at every creation.
    ``already``: the error code of a call that a killed run has made before.
    """

    operation: str
    takes: tuple[str, ...] = ()
    key: Mapping[str, Template] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    build: Build | None = None
    undo: str = ""
    update_only: bool = False
    already: str = ""


@dataclass(frozen=True)
class Tags:
    """How a service tags. ``list`` wants pairs, ``map`` a map; ``key`` names the resource."""

    tag: str
    untag: str
    key: Mapping[str, Template]
    tags: str = "Tags"
    keys: str = "TagKeys"


@dataclass(frozen=True)
class Row:
    """One resource type, in terms of one AWS service's operations."""

    token: str
    service: str
    create: str
    id: Template
    key: Mapping[str, Template]
    samples: tuple[Sample, ...]
    read: str = ""
    delete: str = ""
    live: Template = ""
    """JMESPath to the thing in the read call's response; empty: the response is the thing."""
    gone: str = ""
    """JMESPath, on the live thing, that is true when it is deleted in all but name."""
    read_key: Mapping[str, Template] | None = None
    delete_key: Mapping[str, Template] | None = None
    noun: str = ""
    """Goes before an input's name to find its member; the type's own name by default."""
    rename: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Template] = field(default_factory=dict)
    """Parameters of the create call that are no inputs."""
    parts: tuple[Part, ...] = ()
    local: tuple[str, ...] = ()
    """Inputs that steer the provider and reach no call."""
    replaces: tuple[str, ...] = ()
    """Inputs that need a new resource although a call could change them."""
    outputs: Mapping[str, Template] = field(default_factory=dict)
    secret_outputs: tuple[str, ...] = ()
    drift: Mapping[str, str] = field(default_factory=dict)
    """Inputs that a refresh reads back: input -> JMESPath on the live thing."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    name: str = "name"
    """The input that is named automatically; empty for none."""
    name_limit: int = 0
    name_suffix: str = ""
    tags: Tags | None = None
    tag_kind: str = ""
    """EC2's resource type in a tag specification."""
    build: Build | None = None
    """Makes the create call's parameters instead of the mechanical mapping (one dictionary)."""
    prepare: Callable[[Scope], Scope] | None = None
    """Rewrites inputs before the mechanical mapping: what it returns goes over the scope."""
    before_delete: Callable[[Any, Scope], None] | None = None
    coverage: Coverage = "moto"
    note: str = ""
    kept_as_given: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    """Inputs that the service gives back in a form of its own, with which the provider compares the program's at each
    `up`: input -> whether a text has that form already. One that has not differs each time."""

    @property
    def type_name(self) -> str:
        return self.token.split(":")[-1]

    def inputs_in(self, template: Template) -> set[str]:
        """The names that a template uses."""
        if isinstance(template, Mapping):
            return {name for value in template.values() for name in self.inputs_in(value)}
        if isinstance(template, list | tuple):
            return {name for value in template for name in self.inputs_in(value)}
        return set(re.findall(r"\{(\w+)\}", template)) if isinstance(template, str) else set()


def resolve(template: Template, scope: Scope, answer: Any = None) -> Any:
    """Fill a template in. ``None`` when a name it needs has no value."""
    if isinstance(template, Mapping):
        values = {key: resolve(value, scope, answer) for key, value in template.items()}
        return {key: value for key, value in values.items() if value is not None}
    if isinstance(template, list | tuple):
        return [resolve(value, scope, answer) for value in template]
    if callable(template):
        return template(scope, answer)
    if not isinstance(template, str):
        return template
    if template.startswith("@"):
        return jmespath.search(template[1:], answer) if answer is not None else None
    if match := re.fullmatch(r"\{(\w+)\}", template):
        return scope.get(match[1])
    names = re.findall(r"\{(\w+)\}", template)
    if any(scope.get(name) is None for name in names):
        return None
    return re.sub(r"\{(\w+)\}", lambda m: str(scope[m[1]]), template)
