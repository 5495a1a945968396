"""Calls of functions: their arguments checked and compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poseloop_server.loop.language import nodes, operations
from poseloop_server.loop.language.errors import nearest
from poseloop_server.loop.language.functions import FUNCTIONS, Function, Takes
from poseloop_server.loop.language.parts import Part
from poseloop_server.loop.language.types import ANGLE, PLAIN, TIME, Dimension, Kind, number

if TYPE_CHECKING:
    from poseloop_server.loop.language.compiler import Compiler

MAX_DURATION_S = 60.0


@dataclass(frozen=True, slots=True)
class Operation:
    """A function of numbers alone, which measures nothing.

    Attributes:
        example: a call, for errors and the documentation.
        least: how many arguments there are at least.
        most: and at most; None: any number.
        make: from the compiled arguments.
    """

    example: str
    least: int
    most: int | None
    make: Callable[[list[Any]], Any]


OPERATIONS: dict[str, Operation] = {
    "abs": Operation("abs(heading(tailbase, snout))", 1, 1, lambda runs: operations.absolute(runs[0])),
    "sqrt": Operation("sqrt(x(snout) * x(snout) + y(snout) * y(snout))", 1, 1, lambda runs: operations.root(runs[0])),
    "min": Operation("min(speed(snout), speed(tailbase))", 2, None, operations.least),
    "max": Operation("max(speed(snout), speed(tailbase))", 2, None, operations.most),
    "angle_between": Operation(
        "angle_between(heading(neck, snout), 90 deg)", 2, 2, lambda runs: operations.between_directions(*runs)
    ),
}
_CENTER = "center(neck, tailbase)"


def is_function(name: str) -> bool:
    """Return whether a function has this name."""
    return name in FUNCTIONS or name in OPERATIONS


def example(name: str) -> str:
    """Return how a function is called."""
    return FUNCTIONS[name].example if name in FUNCTIONS else OPERATIONS[name].example


def compile_call(compiler: Compiler, node: nodes.Call) -> Part:
    """Return a call compiled. Raises `ExpressionError`."""
    if node.name == "center":
        return _center(compiler, node)
    if node.name in OPERATIONS:
        return _operation(compiler, node, OPERATIONS[node.name])
    if node.name in FUNCTIONS:
        return _measured(compiler, node, FUNCTIONS[node.name])
    names = compiler.names
    if node.name in (*names.keypoints, *names.zones, *names.quantities, *names.values):
        raise compiler.error(f"{node.name} is no function; write it without parentheses", node)
    known = (*FUNCTIONS, *OPERATIONS, "center")
    raise compiler.error(f"there is no function {node.name!r}{nearest(node.name, known)}", node)


def compile_inside(compiler: Compiler, point: nodes.Node, zone: nodes.Node) -> Part:
    """Return ``point in zone`` compiled: what `inside` gives, under its own text."""
    arguments = [_point(compiler, point, "'in'"), _zone(compiler, zone, "'in'")]
    term = f"{compiler.source(point)} in {compiler.source(zone)}"
    return _plan(compiler, "inside", FUNCTIONS["inside"], arguments, term)


def _measured(compiler: Compiler, node: nodes.Call, function: Function) -> Part:
    most = len(function.takes)
    _check_count(compiler, node, most - function.optional, most, function.example)
    arguments = [_argument(compiler, node, *each) for each in zip(node.arguments, function.takes, strict=False)]
    return _plan(compiler, node.name, function, arguments, compiler.source(node))


def _plan(compiler: Compiler, name: str, function: Function, arguments: list[Part], term: str) -> Part:
    given = tuple(_given(argument) for argument in arguments)
    key = (name, *(argument.key for argument in arguments))
    result = function.gives(tuple(argument.type for argument in arguments))
    return compiler.measured(result, key, lambda scene: function.make(scene, *given), term)


def _given(argument: Part) -> Any:
    """Return an argument as the function's maker takes it."""
    if argument.type.kind in {Kind.POINT, Kind.ZONE}:
        return argument.key
    is_duration = argument.type.dimension == TIME and argument.constant is not None
    return argument.constant if is_duration else argument.run


def _argument(compiler: Compiler, call: nodes.Call, node: nodes.Node, takes: Takes) -> Part:
    if takes is Takes.POINT:
        return _point(compiler, node, call.name)
    if takes is Takes.ZONE:
        return _zone(compiler, node, call.name)
    if takes is Takes.DURATION:
        return _duration(compiler, node, call.name)
    part = compiler.inner_number(node, call.name)
    if part.constant is not None:
        raise compiler.error(f"{compiler.source(node)} never changes, so {call.name} of it tells nothing", node)
    if part.type.is_cyclic:
        raise compiler.error(
            f"{compiler.source(node)} is a direction, which jumps from 180 to -180 degrees, so {call.name} of it "
            "would mean nothing; use turn_rate or angle_between",
            node,
        )
    return part


def _point(compiler: Compiler, node: nodes.Node, where: str) -> Part:
    part = compiler.visit(node, Kind.POINT)
    if part.type.kind is not Kind.POINT:
        hint = f"; its centre is center({compiler.source(node)})" if part.type.kind is Kind.ZONE else ""
        raise _unfit(compiler, node, part, f"{where} takes a keypoint here", hint)
    return part


def _zone(compiler: Compiler, node: nodes.Node, where: str) -> Part:
    part = compiler.visit(node, Kind.ZONE)
    if part.type.kind is not Kind.ZONE:
        raise _unfit(compiler, node, part, f"{where} takes a zone here", nearest("", compiler.names.zones))
    return part


def _unfit(compiler: Compiler, node: nodes.Node, part: Part, wanted: str, hint: str) -> Exception:
    return compiler.error(f"{wanted}, and {compiler.source(node)} is a {part.type.kind}{hint}", node)


def _duration(compiler: Compiler, node: nodes.Node, where: str) -> Part:
    text = compiler.source(node)
    part = compiler.visit(node)
    if not isinstance(node, nodes.Number) or part.constant is None:
        raise compiler.error(f"{where} takes a duration here that is written out, such as 500 ms, not {text}", node)
    if part.type.dimension != TIME:
        wrong = f"the unit of {text} has to be said" if part.type.dimension == PLAIN else f"{text} is no duration"
        raise compiler.error(f"{where} takes a duration here: {wrong}, as in 500 ms or 0.5 s", node)
    if not 0 < part.constant <= MAX_DURATION_S:
        raise compiler.error(f"{where} looks back over more than 0 and at most {MAX_DURATION_S:g} s, not {text}", node)
    return part


def _center(compiler: Compiler, node: nodes.Call) -> Part:
    if not node.arguments:
        raise compiler.error(f"center takes keypoints, as in {_CENTER}, or a zone; of all keypoints write center", node)
    parts = [compiler.visit(argument, Kind.POINT) for argument in node.arguments]
    if len(parts) == 1 and parts[0].type.kind is Kind.ZONE:
        return compiler.point(str(parts[0].key))
    keypoints: set[str] = set()
    for argument, part in zip(node.arguments, parts, strict=True):
        if part.type.kind is not Kind.POINT or not isinstance(part.key, tuple):
            raise _unfit(compiler, argument, part, f"center takes keypoints, as in {_CENTER}", " centre")
        keypoints.update(part.key)
    return compiler.point(tuple(sorted(keypoints)))


def _operation(compiler: Compiler, node: nodes.Call, operation: Operation) -> Part:
    _check_count(compiler, node, operation.least, operation.most, operation.example)
    parts = [compiler.number(argument, node.name) for argument in node.arguments]
    dimension = _dimension(compiler, node, parts)
    run = operation.make([part.run for part in parts])
    return compiler.computed(node, number(dimension), (node.name, *(part.key for part in parts)), run, parts)


def _dimension(compiler: Compiler, node: nodes.Call, parts: list[Part]) -> Dimension:
    dimension = parts[0].type.dimension
    for index in range(1, len(parts)):
        dimension = compiler.same_unit(
            (node.arguments[index - 1], parts[index - 1]), (node.arguments[index], parts[index])
        )
    if node.name == "sqrt":
        half = dimension.root
        if half is None:
            argument = node.arguments[0]
            raise compiler.error(f"{compiler.source(argument)} has a unit of which there is no root", argument)
        return half
    if node.name == "angle_between":
        if dimension not in {ANGLE, PLAIN}:
            raise compiler.error(f"angle_between takes directions, as in {OPERATIONS['angle_between'].example}", node)
        return ANGLE
    return dimension


def _check_count(compiler: Compiler, node: nodes.Call, least: int, most: int | None, example: str) -> None:
    count = len(node.arguments)
    if count >= least and (most is None or count <= most):
        return
    other = " or more" if most is None else f" or {most}" if most > least else ""
    raise compiler.error(f"{node.name} takes {least}{other} arguments, as in {example}, and got {count}", node)
