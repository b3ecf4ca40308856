"""The rule language of composite alarms: ``ALARM(a) AND NOT (OK("b") OR INSUFFICIENT_DATA(c))``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"\s*(?:(?P<call>ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:\"(?P<quoted>[^\"]+)\"|(?P<bare>[^()\s\"]+))\s*\)"
    r"|(?P<word>AND|OR|NOT|TRUE|FALSE)\b|(?P<bracket>[()]))"
)


class RuleError(ValueError):
    """A rule that cannot be read."""


@dataclass(frozen=True)
class Rule:
    """A read rule: the alarms that it names, and its value given their states."""

    alarms: frozenset[str]
    holds: Callable[[Mapping[str, str]], bool]


def alarms_in(rule: Rule) -> set[str]:
    """The names of the alarms in a rule."""
    return set(rule.alarms)


def parse_rule(text: str) -> Rule:
    """Read a rule. NOT binds before AND, AND before OR."""
    tokens: list[re.Match[str]] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise RuleError(f"cannot read {stripped[position:]!r}")
        tokens.append(match)
        position = match.end()
    parser = _Parser(tokens)
    rule = parser.either()
    if parser.rest():
        raise RuleError(f"nothing may follow at {parser.rest()!r}")
    return rule


class _Parser:
    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def rest(self) -> str:
        return "".join(token.group() for token in self._tokens[self._at :]).strip()

    def _take(self, kind: str, value: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][kind] == value:
            self._at += 1
            return True
        return False

    def either(self) -> Rule:
        left = self._both()
        while self._take("word", "OR"):
            left = _or(left, self._both())
        return left

    def _both(self) -> Rule:
        left = self._single()
        while self._take("word", "AND"):
            left = _and(left, self._single())
        return left

    def _single(self) -> Rule:
        if self._take("word", "NOT"):
            inner = self._single()
            return Rule(inner.alarms, lambda states: not inner.holds(states))
        if self._take("bracket", "("):
            inner = self.either()
            if not self._take("bracket", ")"):
                raise RuleError("a bracket is not closed")
            return inner
        if self._at >= len(self._tokens):
            raise RuleError("ends too early")
        token = self._tokens[self._at]
        self._at += 1
        if token["word"] in ("TRUE", "FALSE"):
            value = token["word"] == "TRUE"
            return Rule(frozenset(), lambda _: value)
        if not token["call"]:
            raise RuleError(f"did not expect {token.group().strip()!r}")
        name, state = (token["quoted"] or token["bare"]).split(":alarm:")[-1], token["call"]
        return Rule(frozenset({name}), lambda states: states.get(name) == state)


def _or(left: Rule, right: Rule) -> Rule:
    return Rule(left.alarms | right.alarms, lambda states: left.holds(states) or right.holds(states))


def _and(left: Rule, right: Rule) -> Rule:
    return Rule(left.alarms | right.alarms, lambda states: left.holds(states) and right.holds(states))
