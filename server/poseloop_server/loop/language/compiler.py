"""From a tree to closures: names looked up, types checked, what has to be measured put on the plan."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import isfinite, nan

from poseloop_server.loop.language import calls, nodes, operations
from poseloop_server.loop.language.errors import ExpressionError, written
from poseloop_server.loop.language.functions import Run
from poseloop_server.loop.language.lookup import look_up
from poseloop_server.loop.language.names import Maker, Names
from poseloop_server.loop.language.parser import MAX_DEPTH, parse
from poseloop_server.loop.language.parts import Compiled, Part
from poseloop_server.loop.language.scene import PointKey
from poseloop_server.loop.language.types import PLAIN, POINT, TIME, TRUTH, Dimension, Kind, Type, number, unit_text
from poseloop_server.loop.language.units import unit_of


class Compiler:
    """Compiles one text.

    Args:
        text: of the expression.
        names: that it may use, on whose plan it puts what has to be measured.
        opening: the quantities that are being compiled and led here.
        depth: of all their texts.
    """

    def __init__(self, text: str, names: Names, opening: tuple[str, ...] = (), depth: int = 0) -> None:
        self.text = text
        self.names = names
        self._opening = opening
        self._depth = depth
        self._within = 0  # the depth of the deepest quantity used
        self._keypoints: dict[str, None] = {}
        self._terms: dict[str, int] = {}
        self._muted = 0

    def compile(self) -> Compiled:
        """Return the expression compiled. Raises `ExpressionError`."""
        root = parse(self.text)
        self._depth += root.span.depth
        if self._depth > MAX_DEPTH:
            raise self.error("quantities are nested too deep; write some of them out", root)
        part = self.visit(root)
        return Compiled(part, tuple(self._keypoints), self._terms, root.span.depth + self._within)

    def error(self, message: str, node: nodes.Node) -> ExpressionError:
        """Return the error that points to where the node begins."""
        return ExpressionError(message, node.span.start + 1)

    def source(self, node: nodes.Node) -> str:
        """Return a node's text, on one line."""
        return " ".join(self.text[node.span.start : node.span.end].split())

    def visit(self, node: nodes.Node, wanted: Kind | None = None) -> Part:
        """Return a node compiled; ``wanted`` is what is sought under a name that is not known."""
        match node:
            case nodes.Number():
                return self._number(node)
            case nodes.Truth(value=value):
                return Part(TRUTH, ("truth", value), operations.fixed(value))
            case nodes.Name():
                return look_up(self, node, wanted)
            case nodes.Call():
                return calls.compile_call(self, node)
            case nodes.Negative():
                return self._negative(node)
            case nodes.Arithmetic():
                return self._arithmetic(node)
            case nodes.Comparison():
                return self._comparison(node)
            case nodes.Membership():
                return self._membership(node)
            case nodes.Logic() | nodes.Not():
                return self._logic(node)

    def number(self, node: nodes.Node, where: str) -> Part:
        """Return a node that has to be a number; ``where`` begins the sentence otherwise."""
        part = self.visit(node)
        if part.type.kind is Kind.NUMBER:
            return part
        said = f"{where} takes numbers, and {self.source(node)} is a {part.type.kind}"
        if part.type.kind is Kind.POINT:
            said += f"; of it there are x({self.source(node)}), speed({self.source(node)}) and others"
        raise self.error(said, node)

    def inner_number(self, node: nodes.Node, where: str) -> Part:
        """As `number`, for one that is only measured on: the record need not tell its parts."""
        self._muted += 1
        try:
            return self.number(node, where)
        finally:
            self._muted -= 1

    def measured(self, result: Type, key: Hashable, maker: Maker, term: str) -> Part:
        """Return what has to be measured, and is called ``term`` in the record."""
        is_truth = result.kind is Kind.TRUTH
        slot = self.names.plan.slot(key, None if is_truth else nan, maker)
        if not self._muted:
            self._terms[term] = slot
        return Part(result, key, operations.truth_slot(slot) if is_truth else operations.number_slot(slot))

    def computed(self, node: nodes.Node, result: Type, key: Hashable, run: Run, parts: Sequence[Part]) -> Part:
        """Return a number that is computed from parts, at once where none of them changes."""
        if any(part.constant is None for part in parts):
            return Part(result, key, run)
        value = run([])
        if not isfinite(value):
            raise self.error(f"{self.source(node)} has no value", node)
        return _constant(result.dimension, value)

    def point(self, key: PointKey) -> Part:
        """Return a point, noting the keypoints that it depends on."""
        if not isinstance(key, str):
            self._keypoints.update(dict.fromkeys(key))
        return Part(POINT, key)

    def same_unit(self, left: tuple[nodes.Node, Part], right: tuple[nodes.Node, Part]) -> Dimension:
        """Return the dimension that two numbers have in common; a plain one adapts, but not to a duration."""
        first, second = left[1].type.dimension, right[1].type.dimension
        if first == second:
            return first
        for (node, part), (other_node, other) in ((left, right), (right, left)):
            if part.type.dimension == PLAIN:
                if other.type.dimension != TIME or part.constant == 0:
                    return other.type.dimension
                text = self.source(node)
                raise self.error(
                    f"{self.source(other_node)} is a duration, so the unit of {text} has to be said, as in "
                    + (f"{text} s or {text} ms" if isinstance(node, nodes.Number) else "2 s"),
                    node,
                )
        unit, shown = self.names.unit, self.source(right[0])
        is_rate = first == second / TIME and isinstance(right[0], nodes.Number)
        raise self.error(
            f"{self.source(left[0])} is in {unit_text(first, unit)} and {shown} in {unit_text(second, unit)}, "
            f"so they can't be compared or added{f'; write {shown}/s' if is_rate else ''}",
            right[0],
        )

    def _number(self, node: nodes.Number) -> Part:
        if not node.unit:
            return _constant(PLAIN, node.value)
        try:
            dimension, factor = unit_of(node.unit, self.names)
        except ValueError as error:
            raise self.error(str(error), node) from None
        return _constant(dimension, node.value * factor)

    def quantity(self, node: nodes.Name) -> Part:
        """Return a named quantity, compiled with all that it depends on."""
        name = node.name
        if name in self._opening:
            raise self.error(f"the quantity {name!r} depends on itself: {' -> '.join((*self._opening, name))}", node)
        compiled = self.names.compiled.get(name)
        if compiled is None:
            compiled = compile_quantity(name, self.names, self._opening, self._depth)
        self._within = max(self._within, compiled.depth)
        if self._depth + compiled.depth > MAX_DEPTH:
            raise self.error("quantities are nested too deep; write some of them out", node)
        self._keypoints.update(dict.fromkeys(compiled.keypoints))
        part = compiled.part
        if part.type.kind in {Kind.POINT, Kind.ZONE} or part.constant is not None:
            return part
        return self.measured(part.type, ("quantity", name), lambda scene: scene.bound(part.run), written(name))

    def _negative(self, node: nodes.Negative) -> Part:
        part = self.number(node.operand, "'-'")
        run = operations.negative(part.run)
        return self.computed(node, number(part.type.dimension), ("-", part.key), run, (part,))

    def _arithmetic(self, node: nodes.Arithmetic) -> Part:
        left, right = (self.number(side, f"'{node.operator}'") for side in (node.left, node.right))
        if node.operator == "*":
            dimension = left.type.dimension * right.type.dimension
        elif node.operator == "/":
            dimension = left.type.dimension / right.type.dimension
        else:
            dimension = self.same_unit((node.left, left), (node.right, right))
        run = operations.ARITHMETIC[node.operator](left.run, right.run)
        return self.computed(node, number(dimension), (node.operator, left.key, right.key), run, (left, right))

    def _comparison(self, node: nodes.Comparison) -> Part:
        parts = [self.number(operand, "a comparison") for operand in node.operands]
        whole: Part | None = None
        for index, operator in enumerate(node.operators):
            sides = list(zip(node.operands, parts, strict=True))[index : index + 2]
            self.same_unit(sides[0], sides[1])
            left, right = parts[index], parts[index + 1]
            link = Part(TRUTH, (operator, left.key, right.key), operations.COMPARISONS[operator](left.run, right.run))
            whole = link if whole is None else _both(whole, link)
        assert whole is not None
        return whole

    def _membership(self, node: nodes.Membership) -> Part:
        inside = calls.compile_inside(self, node.point, node.zone)
        return Part(TRUTH, ("not", inside.key), operations.not_(inside.run)) if node.is_negated else inside

    def _logic(self, node: nodes.Logic | nodes.Not) -> Part:
        if isinstance(node, nodes.Not):
            operand = self.truth(node.operand, "'not'")
            return Part(TRUTH, ("not", operand.key), operations.not_(operand.run))
        left, right = (self.truth(side, f"'{node.operator}'") for side in (node.left, node.right))
        if node.operator == "and":
            return _both(left, right)
        return Part(TRUTH, ("or", left.key, right.key), operations.or_(left.run, right.run))

    def truth(self, node: nodes.Node, where: str) -> Part:
        """Return a node that has to be a truth value; ``where`` begins the sentence otherwise."""
        part = self.visit(node)
        if part.type.kind is Kind.TRUTH:
            return part
        text = self.source(node)
        hints = {
            Kind.NUMBER: f"compare it, as in {text} > 1",
            Kind.POINT: f"ask something of it, as in speed({text}) > 1",
            Kind.ZONE: f"say what is in it, as in {next(iter(self.names.keypoints), 'snout')} in {text}",
        }
        raise self.error(
            f"{where} takes what is true or false, and {text} is a {part.type.kind}; {hints[part.type.kind]}", node
        )


def compile_quantity(name: str, names: Names, opening: tuple[str, ...] = (), depth: int = 0) -> Compiled:
    """Return a named quantity compiled, and remember it. Raises `ExpressionError`, which names it."""
    try:
        compiled = Compiler(names.quantities[name], names, (*opening, name), depth).compile()
    except ExpressionError as error:
        error.quantity = error.quantity or name
        raise
    names.compiled[name] = compiled
    return compiled


def _constant(dimension: Dimension, value: float) -> Part:
    return Part(number(dimension), ("number", value), operations.constant(value), value)


def _both(left: Part, right: Part) -> Part:
    return Part(TRUTH, ("and", left.key, right.key), operations.and_(left.run, right.run))
