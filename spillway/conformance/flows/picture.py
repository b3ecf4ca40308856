"""The flows of a plan as one HTML page with a picture, without any script: green arrows, and red ones that break."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from spillway.conformance.flows.flow import Answer

_OPEN, _CLOSED, _INK, _PALE = "#1a7f37", "#c0262d", "#24292f", "#d0d7de"
_WIDTH, _ROW, _HEAD, _LABEL, _ARROW = 1180, 26, 30, 300, 560
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1220px;color:#24292f}
table{border-collapse:collapse;width:100%}td,th{border:1px solid #d0d7de;padding:.3rem .5rem;text-align:left;
vertical-align:top}.open{color:#1a7f37}.closed{color:#c0262d}svg{width:100%;height:auto}
text{font:13px system-ui,sans-serif;fill:#24292f}h2{margin-top:2rem}code{font-size:90%}
"""


def write_page(answers: Sequence[Answer], stack: str, path: Path) -> None:
    """A self-contained page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(answers, stack), encoding="utf-8")


def page(answers: Sequence[Answer], stack: str) -> str:
    closed = [answer for answer in answers if not answer.open]
    told = f"{len(answers)} flows: {len(answers) - len(closed)} open, {len(closed)} closed."
    names = dict.fromkeys(answer.family.name for answer in answers)
    pictures = "".join(_family([one for one in answers if one.family.name == name]) for name in names)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Spillway flows: {html.escape(stack)}</title>
<style>{_STYLE}</style></head><body><h1>Flows of {html.escape(stack)}</h1>
<p>{told} A flow is an arrow of the architecture: what must be reached from where, through each door on the way.
A red arrow breaks at its first closed door.</p>
{_closed_table(closed)}
{pictures}
</body></html>
"""


def _closed_table(closed: Sequence[Answer]) -> str:
    if not closed:
        return '<p class="open">Every arrow can be walked.</p>'
    rows = "".join(
        f"<tr><td>{html.escape(answer.flow.name)}<br>{html.escape(answer.flow.over)}</td>"
        f"<td>{html.escape(door.name)}</td><td>{html.escape(found.resource.name if found.resource else '')}<br>"
        f"<code>{html.escape(found.path)}</code></td><td>{html.escape(found.message)}</td>"
        f"<td>{html.escape(found.remedy)}</td></tr>"
        for answer in closed
        for door, found in answer.closed
    )
    head = "".join(f"<th>{name}</th>" for name in ("Flow", "Closed door", "Resource", "Why", "How to mend it"))
    return f"<h2>Closed doors</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _family(answers: Sequence[Answer]) -> str:
    family = answers[0].family
    height = _HEAD + _ROW * len(answers)
    parts = "".join(_arrow(answer, _HEAD + _ROW * number) for number, answer in enumerate(answers))
    return (
        f"<h2>{html.escape(family.name)}</h2><p>{html.escape(family.says)}.</p>"
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(family.name)}">{parts}</svg>'
    )


def _arrow(answer: Answer, top: int) -> str:
    """From the source to the target, with a mark at each door; broken at the first that is closed."""
    flow, y = answer.flow, top
    left, right = _LABEL + 10, _LABEL + _ARROW
    doors = flow.doors
    shut = {id(door) for door, _ in answer.closed}
    first = next((number for number, door in enumerate(doors) if id(door) in shut), None)
    spots = [left + (right - left) * (number + 1) / (len(doors) + 1) for number in range(len(doors))]
    end = right if first is None else spots[first]
    colour = _OPEN if first is None else _CLOSED
    parts = [_text(_LABEL, y + 4, flow.source, "end"), _text(right + 16, y + 4, f"{flow.target}  {flow.over}", "start")]
    parts.append(_line(left, end, y, colour))
    if first is None:
        parts.append(f'<path d="M{right} {y}l-9 -5v10z" fill="{colour}"/>')
    else:
        parts.append(_line(end, right, y, _PALE, dashed=True))
        parts.append(f'<path d="M{end - 5} {y - 5}l10 10m0 -10l-10 10" stroke="{colour}" stroke-width="3"/>')
    parts += [_door(spot, y, door.name, id(door) in shut) for spot, door in zip(spots, doors, strict=True)]
    return "".join(parts)


def _door(x: float, y: int, name: str, shut: bool) -> str:
    colour = _CLOSED if shut else _OPEN
    return f'<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="{colour}"><title>{html.escape(name)}</title></circle>'


def _line(start: float, end: float, y: int, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<line x1="{start:.1f}" y1="{y}" x2="{end:.1f}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>'


def _text(x: float, y: int, text: str, anchor: str) -> str:
    short = text if len(text) <= 46 else f"{text[:45]}…"
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(short)}<title>{html.escape(text)}</title></text>'


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
