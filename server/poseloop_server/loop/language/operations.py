"""What operators and functions do at each pose, as closures over their operands, which read a scene's slots.

Numbers: NaN is unknown, and whatever is computed from it. Truths: None is unknown, after Kleene's strong logic
(S. C. Kleene, Introduction to Metamathematics, 1952, section 64): ``and`` is false where one side is, ``or`` true where
one side is, whatever the other; everything else that depends on something unknown is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, sqrt

from poseloop_server.loop.kinematics.angles import wrapped
from poseloop_server.loop.language.names import Value

Slots = list[Value]
NumberRun = Callable[[Slots], float]
TruthRun = Callable[[Slots], bool | None]


def constant(value: float) -> NumberRun:
    """Give the same number always."""
    return lambda _: value


def fixed(value: bool) -> TruthRun:
    """Give the same truth always."""
    return lambda _: value


def number_slot(index: int) -> NumberRun:
    """Give a number that was measured."""
    return lambda slots: slots[index]  # type: ignore[return-value]


def truth_slot(index: int) -> TruthRun:
    """Give a truth that was measured."""
    return lambda slots: slots[index]  # type: ignore[return-value]


def negative(operand: NumberRun) -> NumberRun:
    """``-operand``."""
    return lambda slots: -operand(slots)


def add(left: NumberRun, right: NumberRun) -> NumberRun:
    """``left + right``."""
    return lambda slots: left(slots) + right(slots)


def subtract(left: NumberRun, right: NumberRun) -> NumberRun:
    """``left - right``."""
    return lambda slots: left(slots) - right(slots)


def multiply(left: NumberRun, right: NumberRun) -> NumberRun:
    """``left * right``."""
    return lambda slots: left(slots) * right(slots)


def divide(left: NumberRun, right: NumberRun) -> NumberRun:
    """``left / right``, unknown where the latter is 0."""

    def run(slots: Slots) -> float:
        divisor = right(slots)
        return left(slots) / divisor if divisor else nan

    return run


def greater(left: NumberRun, right: NumberRun) -> TruthRun:
    """``left > right``."""

    def run(slots: Slots) -> bool | None:
        a, b = left(slots), right(slots)
        # Neither holds where one is NaN.
        return True if a > b else False if a <= b else None

    return run


def greater_equal(left: NumberRun, right: NumberRun) -> TruthRun:
    """``left >= right``."""

    def run(slots: Slots) -> bool | None:
        a, b = left(slots), right(slots)
        return True if a >= b else False if a < b else None

    return run


def equal(left: NumberRun, right: NumberRun) -> TruthRun:
    """``left == right``."""

    def run(slots: Slots) -> bool | None:
        a, b = left(slots), right(slots)
        return True if a == b else None if a != a or b != b else False

    return run


def not_(operand: TruthRun) -> TruthRun:
    """``not operand``."""

    def run(slots: Slots) -> bool | None:
        truth = operand(slots)
        return None if truth is None else not truth

    return run


def and_(left: TruthRun, right: TruthRun) -> TruthRun:
    """``left and right``."""

    def run(slots: Slots) -> bool | None:
        first = left(slots)
        if first is False:
            return False
        second = right(slots)
        return second if first or second is False else None

    return run


def or_(left: TruthRun, right: TruthRun) -> TruthRun:
    """``left or right``."""

    def run(slots: Slots) -> bool | None:
        first = left(slots)
        if first is True:
            return True
        second = right(slots)
        return second if first is False or second is True else None

    return run


def less(left: NumberRun, right: NumberRun) -> TruthRun:
    """``left < right``."""
    return greater(right, left)


def less_equal(left: NumberRun, right: NumberRun) -> TruthRun:
    """``left <= right``."""
    return greater_equal(right, left)


def unequal(left: NumberRun, right: NumberRun) -> TruthRun:
    """``left != right``."""
    return not_(equal(left, right))


def absolute(operand: NumberRun) -> NumberRun:
    """``abs(operand)``."""
    return lambda slots: abs(operand(slots))


def root(operand: NumberRun) -> NumberRun:
    """``sqrt(operand)``, unknown for a negative number."""

    def run(slots: Slots) -> float:
        value = operand(slots)
        return sqrt(value) if value >= 0 else nan

    return run


def least(operands: Sequence[NumberRun]) -> NumberRun:
    """``min(...)``, unknown where one is."""
    return _extreme(operands, min)


def most(operands: Sequence[NumberRun]) -> NumberRun:
    """``max(...)``, unknown where one is."""
    return _extreme(operands, max)


def _extreme(operands: Sequence[NumberRun], choose: Callable[[list[float]], float]) -> NumberRun:
    def run(slots: Slots) -> float:
        values = [operand(slots) for operand in operands]
        return nan if any(value != value for value in values) else choose(values)

    return run


def between_directions(left: NumberRun, right: NumberRun) -> NumberRun:
    """``angle_between(left, right)`` of two directions in degrees, in [0, 180]."""
    return lambda slots: abs(wrapped(left(slots) - right(slots)))


ARITHMETIC = {"+": add, "-": subtract, "*": multiply, "/": divide}
COMPARISONS = {
    "<": less,
    "<=": less_equal,
    ">": greater,
    ">=": greater_equal,
    "==": equal,
    "!=": unequal,
}
