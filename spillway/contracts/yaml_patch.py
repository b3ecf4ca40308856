"""Changes values in a YAML text and leaves the rest as its author wrote it: comments, order, quotes, flow style."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from spillway.contracts.pulumi_yaml import compose, dump, dump_line, load


class _Edit(NamedTuple):
    """The text from ``begin`` to ``end`` becomes ``text``."""

    begin: int
    end: int
    text: str


def patched(text: str, value: Any) -> str:
    """``text`` with what is otherwise in ``value``. Where that cannot be done in place, a text of ``value`` alone."""
    root = compose(text)
    if root is None:
        return dump(value)
    made = text
    for edit in sorted(_edits(text, root, load(text), value), reverse=True):
        made = made[: edit.begin] + edit.text + made[edit.end :]
    try:
        return made if load(made) == value else dump(value)
    except ValueError:
        return dump(value)


def _edits(text: str, node: yaml.Node, old: Any, new: Any) -> Iterator[_Edit]:
    if old == new:
        return
    if not (isinstance(node, yaml.MappingNode) and isinstance(new, Mapping) and node.value and new):
        yield _Edit(node.start_mark.index, _end(text, node), dump_line(new))
        return
    for key, inner in node.value:
        if key.value not in new:
            yield _without(text, node, key, inner)
        elif old[key.value] is None and new[key.value] is not None and not inner.value:
            yield _Edit(inner.start_mark.index, inner.start_mark.index, f" {dump_line(new[key.value])}")
        else:
            yield from _edits(text, inner, old[key.value], new[key.value])
    more = {key: item for key, item in new.items() if key not in old}
    if more:
        yield _with(text, node, more)


def _with(text: str, node: yaml.MappingNode, more: Mapping[str, Any]) -> _Edit:
    at = _end(text, node.value[-1][1])
    if node.flow_style:
        return _Edit(at, at, "".join(f", {key}: {dump_line(item)}" for key, item in more.items()))
    # After the last line, and what is said behind it.
    line_end = text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    indent = " " * node.value[0][0].start_mark.column
    lines = (f"\n{indent}{line}" for line in dump(dict(more)).rstrip("\n").split("\n"))
    return _Edit(line_end, line_end, "".join(lines))


def _without(text: str, node: yaml.MappingNode, key: yaml.Node, inner: yaml.Node) -> _Edit:
    begin, end = key.start_mark.index, _end(text, inner)
    if not node.flow_style:
        line_end = text.find("\n", end)
        return _Edit(text.rfind("\n", 0, begin) + 1, len(text) if line_end < 0 else line_end + 1, "")
    after = len(text[end:]) - len(text[end:].lstrip(" \n"))
    if text[end + after : end + after + 1] == ",":
        rest = text[end + after + 1 :]
        return _Edit(begin, end + after + 1 + len(rest) - len(rest.lstrip(" ")), "")
    before = text[:begin].rstrip(" \n")
    return _Edit(len(before) - before.endswith(","), end, "")


def _end(text: str, node: yaml.Node) -> int:
    """A block ends for the parser where the next thing begins; here at its last value."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1])
    return node.end_mark.index
