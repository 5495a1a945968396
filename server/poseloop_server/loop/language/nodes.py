"""An expression as it was written: a tree of what stands where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands in the text, as offsets of characters; ``depth`` counts what is nested in it."""

    start: int
    end: int
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Number:
    """A number, with the unit behind it or ""."""

    span: Span
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Truth:
    """``true`` or ``false``."""

    span: Span
    value: bool


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a keypoint, a zone, a quantity or a value."""

    span: Span
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function and what it is given."""

    span: Span
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negative:
    """``-operand``."""

    span: Span
    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left operator right`` of two numbers; the operator is one of ``+ - * /``."""

    span: Span
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a < b <= c``: one operator fewer than operands."""

    span: Span
    operands: tuple[Node, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Membership:
    """``point in zone``, or ``point not in zone``."""

    span: Span
    point: Node
    zone: Node
    is_negated: bool


@dataclass(frozen=True, slots=True)
class Logic:
    """``left and right``, or with ``or``."""

    span: Span
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Not:
    """``not operand``."""

    span: Span
    operand: Node


Node = Number | Truth | Name | Call | Negative | Arithmetic | Comparison | Membership | Logic | Not
