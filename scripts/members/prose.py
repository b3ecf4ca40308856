"""Demands that stand only in botocore's documentation strings: characters and lengths.

A sentence counts only where every word of it is understood; what is left out is a miss, never a false alarm.
"""

from __future__ import annotations

import html
import re
from typing import Any, Final

_SETS: Final = {
    "a-z": "a-z", "A-Z": "A-Z", "0-9": "0-9", "spaces": " ", "alphanumeric characters": "a-zA-Z0-9",
    "letters": "a-zA-Z", "numbers": "0-9", "underscore": "_", "underscores": "_", "hyphens": "-", "periods": ".",
    "uppercase": "A-Z", "lowercase ASCII letters": "a-z", '"-"': "-", '"_"': "_",
}  # fmt: skip
_CHARACTERS: Final = re.compile(
    r"(?:(?:valid|allowed) characters(?: are|:)|must contain only|must be made up of only|valid values:(?= alphanum))"
    r" (?P<list>.+?)(?=\.(?: |$)|, and must|$)",
    re.IGNORECASE,
)
_LONGEST: Final = re.compile(
    r"up to (?P<a>[\d,]*\d) (?:\w+ )?characters|maximum of (?P<b>[\d,]*\d) (?:\w+ )?characters"
    r"|maximum length(?: of(?: the string is)?| is|:| for a parameter name that you specify is) (?P<c>[\d,]*\d)",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(
    r"between (?P<a>\d+) and (?P<b>\d+) characters|at least (?P<c>\d+) characters and no more than (?P<d>\d+) char"
)
_RANGE: Final = re.compile(
    r"Minimum value of (?P<a>[\d,]*\d)\. Maximum value of (?P<b>[\d,]*\d)|Integers from (?P<c>\d+) to (?P<d>\d+)"
)


def demands(documentation: str, kind: str) -> dict[str, Any]:
    """What a member's documentation demands of a ``string`` or ``integer``, in the form of a field."""
    plain = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", documentation))).strip()
    if kind in ("integer", "long"):
        found = _RANGE.search(plain)
        return dict(zip(("least", "most"), _numbers(found), strict=True)) if found else {}
    result: dict[str, Any] = {}
    if found := _CHARACTERS.search(plain):
        characters = _class(found["list"])
        if characters:
            # A name that has to end with `.fifo` for some, as the same text says elsewhere.
            result["characters"] = characters.replace("]", r"\.]") if ".fifo" in plain else characters
    if found := _BETWEEN.search(plain):
        result |= dict(zip(("shortest", "longest"), _numbers(found), strict=True))
    elif found := _LONGEST.search(plain):
        result["longest"] = _numbers(found)[0]
    return result


def _numbers(found: re.Match[str]) -> list[int]:
    return [int(text.replace(",", "")) for text in found.groups() if text]


def _class(listed: str) -> str:
    """A regular expression's class for a list in words; empty where a part is not understood."""
    parts = [part.strip() for part in re.split(r", (?:and |or )?| and | or ", listed) if part.strip()]
    result = ""
    for part in parts:
        word = re.sub(r" ?\( ?\S ?\)$", "", part)
        if word in _SETS:
            result += re.escape(_SETS[word]) if len(_SETS[word]) == 1 else _SETS[word]
        elif re.fullmatch(r"[^\w\s]+[^\s]*", part) and not re.search(r"[A-Za-z0-9]", part):
            result += "".join(re.escape(character) for character in part)
        else:
            return ""
    return f"[{result}]"
