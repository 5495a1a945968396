"""What an expression can be: a truth, a number with its unit, a point, a zone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a part of an expression is, as an error calls it."""

    TRUTH = "truth value"
    NUMBER = "number"
    POINT = "keypoint"
    ZONE = "zone"


class Dimension(NamedTuple):
    """The exponents of a number's unit."""

    length: int = 0
    time: int = 0
    angle: int = 0

    def __mul__(self, other: Dimension) -> Dimension:  # type: ignore[override]
        return Dimension(self.length + other.length, self.time + other.time, self.angle + other.angle)

    def __truediv__(self, other: Dimension) -> Dimension:
        return Dimension(self.length - other.length, self.time - other.time, self.angle - other.angle)

    @property
    def root(self) -> Dimension | None:
        """The dimension of the square root; None where it would be no whole one."""
        return None if any(each % 2 for each in self) else Dimension(*(each // 2 for each in self))


PLAIN = Dimension()
LENGTH = Dimension(length=1)
TIME = Dimension(time=1)
ANGLE = Dimension(angle=1)


@dataclass(frozen=True, slots=True)
class Type:
    """The kind of a part and, of a number, its dimension.

    Attributes:
        is_cyclic: a direction, which jumps from 180 to -180 degrees, so that its mean and its slope mean nothing.
    """

    kind: Kind
    dimension: Dimension = PLAIN
    is_cyclic: bool = False


TRUTH = Type(Kind.TRUTH)
POINT = Type(Kind.POINT)
ZONE = Type(Kind.ZONE)


def number(dimension: Dimension = PLAIN) -> Type:
    """Return the type of a number of that dimension."""
    return Type(Kind.NUMBER, dimension)


def unit_text(dimension: Dimension, length_unit: str) -> str:
    """Return how a unit is written, such as ``px/s``; "" for a plain number."""
    names = ((length_unit, dimension.length), ("deg", dimension.angle), ("s", dimension.time))
    above = "*".join(_power(name, exponent) for name, exponent in names if exponent > 0)
    below = "/".join(_power(name, -exponent) for name, exponent in names if exponent < 0)
    return f"{above or '1'}/{below}" if below else above


def _power(name: str, exponent: int) -> str:
    return name if exponent == 1 else f"{name}{exponent}"
