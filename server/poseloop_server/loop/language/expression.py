"""An expression, ready to be evaluated at each pose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

from poseloop_server.loop.language.compiler import Compiler, compile_quantity
from poseloop_server.loop.language.errors import ExpressionError
from poseloop_server.loop.language.names import Names, Value
from poseloop_server.loop.language.parts import Compiled
from poseloop_server.loop.language.scene import Scene
from poseloop_server.loop.language.types import Kind, unit_text

Term = Callable[[Scene], float]


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A number or a truth value that is made of what a scene measures.

    Attributes:
        text: as it was written.
        kind: ``Kind.NUMBER`` or ``Kind.TRUTH``.
        unit: of a number, such as ``px/s``; "" where it has none.
        keypoints: that it depends on, also through quantities, in the order in which they are met.
        terms: what it is made of, by text: each gives a number, of a truth 1 or 0, and NaN for what is unknown.
    """

    text: str
    kind: Kind
    unit: str
    keypoints: tuple[str, ...]
    terms: Mapping[str, Term]
    _run: Callable[[list[Value]], Any] = field(repr=False)
    _slots: tuple[tuple[str, int], ...] = field(repr=False)

    def evaluate(self, scene: Scene) -> Value:
        """Return its value at the scene's latest pose: a truth, None if unknown; or a number, NaN if unknown."""
        return self._run(scene.slots)  # type: ignore[no-any-return]

    def values(self, scene: Scene) -> dict[str, float]:
        """Return all `terms` at the scene's latest pose, for the record."""
        slots = scene.slots
        return {text: _as_number(slots[slot]) for text, slot in self._slots}


def compile_expression(text: str, names: Names) -> Expression:
    """Compile a number or a condition.

    Raises:
        ExpressionError: with the column; the names are not known, the types don't fit, or it is no expression.
    """
    compiled = Compiler(text, names).compile()
    kind = compiled.part.type.kind
    if kind not in {Kind.NUMBER, Kind.TRUTH}:
        raise ExpressionError(
            f"{text.strip()} is a {kind}; ask something of it, as in "
            + (f"speed({text.strip()})" if kind is Kind.POINT else f"inside(snout, {text.strip()})"),
            1,
        )
    return _expression(text, compiled, names)


def compile_condition(text: str, names: Names) -> Expression:
    """Compile what has to be true or false. Raises `ExpressionError`."""
    expression = compile_expression(text, names)
    if expression.kind is not Kind.TRUTH:
        raise ExpressionError(
            f"a condition is true or false, and {text.strip()} is a {expression.kind}; compare it, as in "
            f"{text.strip()} > 1",
            1,
        )
    return expression


def check_quantities(names: Names) -> None:
    """Compile every named quantity, used or not. Raises `ExpressionError`, which names the one that is wrong."""
    for name in names.quantities:
        if name not in names.compiled:
            compile_quantity(name, names)


def _expression(text: str, compiled: Compiled, names: Names) -> Expression:
    part = compiled.part
    return Expression(
        text=text,
        kind=part.type.kind,
        unit=unit_text(part.type.dimension, names.unit),
        keypoints=compiled.keypoints,
        terms={term: _term(slot) for term, slot in compiled.terms.items()},
        _run=part.run,
        _slots=tuple(compiled.terms.items()),
    )


def _term(slot: int) -> Term:
    return lambda scene: _as_number(scene.slots[slot])


def _as_number(value: Value) -> float:
    return nan if value is None else float(value)
