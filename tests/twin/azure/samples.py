"""One resource of each type: the samples that stand beside the rows, in an order in which they can be created."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from itertools import permutations
from typing import Any

from spillway.twin.azure.account import SUBSCRIPTION_ID
from spillway.twin.azure.row import Row
from spillway.twin.azure.services import ROWS


def _id(row: Row) -> str:
    """Where the sample will live, as far as its inputs say; ids are compared without case."""
    values = {"subscriptionId": SUBSCRIPTION_ID, **row.sample.inputs}
    return re.sub(r"{(\w+)}", lambda match: str(values.get(match[1], "automatic")).strip("/"), row.path).lower()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.lower()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (key.lower(), *_texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _in_order() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each after those that it names, or lies under."""
    rows, ids = {row.type: row for row in ROWS}, {row.type: _id(row) for row in ROWS}
    needs = {type_: list(row.sample.after) for type_, row in rows.items()}
    named = {type_: (ids[type_], *_texts(row.sample.inputs)) for type_, row in rows.items()}
    for type_, other in permutations(rows, 2):
        if any(f"{text}/".startswith(f"{ids[other]}/") for text in named[type_]):
            needs[type_].append(other)
    for type_ in TopologicalSorter(needs).static_order():
        yield type_, rows[type_].sample.inputs


SAMPLES: dict[str, Mapping[str, Any]] = dict(_in_order())
