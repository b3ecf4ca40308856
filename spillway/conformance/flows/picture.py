"""The flows of a plan as a page: arrows that are whole where all is open, and break at their first closed door."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from spillway.conformance.flows.flow import Answer
from spillway.page import page
from spillway.page.chart import BAD, GOOD, RULE, Chart, Dot, Label, Line
from spillway.page.page import Page, Section, Table

_WIDTH, _ROW, _HEAD, _LABEL, _ARROW = 1180, 26, 30, 300, 560
_LETTERS: Final = 46
_LEAD: Final = (
    "A flow is an arrow of the architecture: what must be reached from where, through each door on the way. "
    "One that is shut breaks at its first closed door."
)


def write_page(answers: Sequence[Answer], about: Mapping[str, str], path: Path) -> None:
    """``about``: whose flows, e.g. the stack's name and its package."""
    closed = [answer for answer in answers if not answer.open]
    counts = {"flows": f"{len(answers)}: {len(answers) - len(closed)} open, {len(closed)} closed"}
    names = dict.fromkeys(answer.family.name for answer in answers)
    families = [_family([one for one in answers if one.family.name == name]) for name in names]
    doors = [_doors(closed)] if closed else []
    verdict = (f"{len(closed)} closed", False) if closed else ("every arrow can be walked", True)
    page.write_page(Page("Flows", _LEAD, {**about, **counts}, (*doors, *families), verdict), path)


def _doors(closed: Sequence[Answer]) -> Section:
    columns = ("Flow", "Over", "Closed door", "Resource", "Property", "Why", "How to mend it")
    found = tuple(
        (
            *(answer.flow.name, answer.flow.over, door.name),
            *(shut.resource.name if shut.resource else "", shut.path, shut.message, shut.remedy),
        )
        for answer in closed
        for door, shut in answer.closed
    )
    return Section(
        "Closed doors", tables=(Table("Of each flow that is shut, in its order", columns, found, len(columns)),)
    )


def _family(answers: Sequence[Answer]) -> Section:
    family = answers[0].family
    lines: list[Line] = []
    dots: list[Dot] = []
    labels: list[Label] = []
    for number, answer in enumerate(answers):
        y = _HEAD + _ROW * number
        labels += [_label(_LABEL, y, answer.flow.source, end=True)]
        labels += [_label(_LABEL + _ARROW + 16, y, f"{answer.flow.target}  {answer.flow.over}")]
        of_arrow = _arrow(answer, y)
        lines += of_arrow[0]
        dots += of_arrow[1]
    shut = sum(not answer.open for answer in answers)
    said = f"{len(answers)} arrows, {shut} shut: the table of closed doors names them" if shut else "All are open"
    height = _HEAD + _ROW * len(answers)
    drawn = Chart(family.says, said, (), (), tuple(lines), tuple(labels), _WIDTH, height, None, dots=tuple(dots))
    return Section(family.name, charts=(drawn,))


def _arrow(answer: Answer, y: int) -> tuple[list[Line], list[Dot]]:
    """From the source to the target, with a mark at each door; broken at the first that is closed."""
    doors = answer.flow.doors
    left, right = _LABEL + 10, _LABEL + _ARROW
    shut = {id(door) for door, _ in answer.closed}
    spots = [left + (right - left) * (number + 1) / (len(doors) + 1) for number in range(len(doors))]
    dots = [Dot(spot, y, BAD if id(door) in shut else GOOD, door.name) for spot, door in zip(spots, doors, strict=True)]
    first = next((spot for spot, door in zip(spots, doors, strict=True) if id(door) in shut), None)
    if first is None:
        return [
            _line(GOOD, (left, y), (right, y)),
            _line(GOOD, (right - 9, y - 5), (right, y), (right - 9, y + 5)),
        ], dots
    cross = [_line(BAD, (first - 5, y + way * 5), (first + 5, y - way * 5)) for way in (-1, 1)]
    return [_line(BAD, (left, y), (first, y)), _line(RULE, (first, y), (right, y), dashed=True), *cross], dots


def _line(colour: str, *points: tuple[float, float], dashed: bool = False) -> Line:
    return Line(" ".join(f"{x:.1f},{y:.1f}" for x, y in points), colour, dashed)


def _label(x: float, y: int, text: str, *, end: bool = False) -> Label:
    if len(text) <= _LETTERS:
        return Label(x, y + 4, text, end)
    return Label(x, y + 4, f"{text[: _LETTERS - 1]}…", end, text)


def rows(answers: Iterable[Answer]) -> list[dict[str, object]]:
    """For programs: each flow with its doors and what is closed."""
    return [
        {
            "family": answer.family.name,
            "source": answer.flow.source,
            "target": answer.flow.target,
            "over": answer.flow.over,
            "open": answer.open,
            "doors": [door.name for door in answer.flow.doors],
            "closed": [
                {
                    "door": door.name,
                    "resource": found.resource.name if found.resource else None,
                    "urn": found.resource.urn if found.resource else None,
                    "path": found.path,
                    "message": found.message,
                    "remediation": found.remedy,
                }
                for door, found in answer.closed
            ],
        }
        for answer in answers
    ]
