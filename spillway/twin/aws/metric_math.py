"""CloudWatch metric math over short series: arithmetic, comparison, AND / OR, and the common functions.

A series is a list with one value per period, newest first, ``None`` where there is no data.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

Series = list[float | None]
Value = Series | float | str | list[Series]

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else None,
    ast.Pow: operator.pow,
    ast.Gt: lambda a, b: float(a > b),
    ast.Lt: lambda a, b: float(a < b),
    ast.GtE: lambda a, b: float(a >= b),
    ast.LtE: lambda a, b: float(a <= b),
    ast.Eq: lambda a, b: float(a == b),
    ast.NotEq: lambda a, b: float(a != b),
}


class MathError(ValueError):
    """An expression that cannot be evaluated."""


def evaluate(expression: str, series: Mapping[str, Series], length: int) -> Series:
    """The series of an expression over others of the same length."""
    text = expression.replace("&&", " and ").replace("||", " or ").replace("^", "**")
    for upper, lower in ((" AND ", " and "), (" OR ", " or ")):
        text = text.replace(upper, lower)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise MathError(f"cannot read {expression!r}") from error
    return _spread(_Evaluator(series, length).value(tree.body), length)


class _Evaluator:
    def __init__(self, series: Mapping[str, Series], length: int) -> None:
        self._series = series
        self._length = length

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Constant(value=str() as text):
                return text
            case ast.Name(id=name) if name in self._series:
                return self._series[name]
            case ast.Name(id="REPEAT" | "LINEAR" as word):
                return word
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._zip(operator.sub, 0.0, self.value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._zip(_OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return self._zip(_OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=values):
                return self._logic(isinstance(op, ast.And), [self.value(v) for v in values])
            case ast.List(elts=elements):
                return [_spread(self.value(element), self._length) for element in elements]
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name.upper(), [self.value(arg) for arg in args])
        raise MathError(f"cannot evaluate {ast.unparse(node)!r}")

    def _zip(self, function: Callable[[Any, Any], Any], left: Value, right: Value) -> Series:
        pairs = zip(_spread(left, self._length), _spread(right, self._length), strict=True)
        return [None if a is None or b is None else function(a, b) for a, b in pairs]

    def _logic(self, both: bool, values: list[Value]) -> Series:
        rows = zip(*(_spread(value, self._length) for value in values), strict=True)
        decide = all if both else any
        return [None if None in row else float(decide(row)) for row in rows]

    def _call(self, name: str, args: list[Value]) -> Value:
        if name == "METRICS":
            prefix = args[0] if args and isinstance(args[0], str) else ""
            return [values for key, values in sorted(self._series.items()) if prefix in key]
        if name == "IF":
            condition, yes = _spread(args[0], self._length), _spread(args[1], self._length)
            no = _spread(args[2], self._length) if len(args) > 2 else [None] * self._length
            return [None if c is None else (y if c else n) for c, y, n in zip(condition, yes, no, strict=True)]
        if name == "FILL":
            return self._fill(_spread(args[0], self._length), args[1])
        if name in ("ABS", "CEIL", "FLOOR", "LOG", "LOG10"):
            function = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor, "LOG": math.log, "LOG10": math.log10}[name]
            return [None if v is None else float(function(v)) for v in _spread(args[0], self._length)]
        if name == "RATE" or name == "DIFF":
            values = _spread(args[0], self._length)
            older = [*values[1:], None]
            return [None if a is None or b is None else a - b for a, b in zip(values, older, strict=True)]
        if name in ("SUM", "AVG", "MIN", "MAX"):
            return self._reduce(name, args[0])
        raise MathError(f"does not know {name}()")

    @staticmethod
    def _fill(values: Series, filler: Value) -> Series:
        if filler != "REPEAT":
            if not isinstance(filler, float):
                raise MathError("FILL takes a number or REPEAT")
            return [filler if value is None else value for value in values]
        filled: Series = []
        for value in reversed(values):
            filled.append(value if value is not None or not filled else filled[-1])
        return filled[::-1]

    def _reduce(self, name: str, over: Any) -> Value:
        """Over a list of series: at each period. Over one series: all its values."""
        function: Any = {"SUM": sum, "AVG": lambda v: sum(v) / len(v), "MIN": min, "MAX": max}[name]
        if isinstance(over, list) and over and isinstance(over[0], list):
            columns = [[v for v in column if v is not None] for column in zip(*over, strict=True)]
            return [function(column) if column else None for column in columns]
        values = [v for v in _spread(over, self._length) if v is not None]
        return [function(values) if values else None] * self._length


def _spread(value: Any, length: int) -> Series:
    if isinstance(value, float):
        return [value] * length
    if isinstance(value, str) or (value and isinstance(value[0], list)):
        raise MathError("a single series is needed here")
    return value
