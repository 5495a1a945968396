"""Names in an expression: what they stand for, and what was probably meant where they stand for nothing."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

from poseloop_server.loop.language import calls, nodes
from poseloop_server.loop.language.errors import nearest, written
from poseloop_server.loop.language.names import Measure, Names
from poseloop_server.loop.language.parts import Part
from poseloop_server.loop.language.scene import Scene
from poseloop_server.loop.language.types import ZONE, Kind, number

if TYPE_CHECKING:
    from poseloop_server.loop.language.compiler import Compiler


def look_up(compiler: Compiler, node: nodes.Name, wanted: Kind | None) -> Part:
    """Return what a name stands for; ``wanted`` is what was sought. Raises `ExpressionError`."""
    names, name = compiler.names, node.name
    if name in names.keypoints:
        return compiler.point((name,))
    if name in names.zones:
        return Part(ZONE, name)
    if name in names.quantities:
        return compiler.quantity(node)
    if name in names.values:
        return compiler.measured(number(), ("value", name), lambda scene: _given(scene, name), written(name))
    if name == "center" and names.keypoints:
        return compiler.point(tuple(sorted(set(names.keypoints))))
    raise compiler.error(_unknown(names, name, wanted), node)


def _given(scene: Scene, name: str) -> Measure:
    # What a stage of the user's gives may be a number of NumPy, whose comparisons give truths of NumPy.
    return lambda: float(scene.given.get(name, nan))


def _unknown(names: Names, name: str, wanted: Kind | None) -> str:
    if calls.is_function(name):
        return f"{name} is a function; write it with what it takes, as in {calls.example(name)}"
    if wanted is Kind.POINT:
        return f"there is no keypoint {name!r}{nearest(name, (*names.keypoints, *names.quantities))}"
    if wanted is Kind.ZONE:
        return f"there is no zone {name!r}{nearest(name, names.zones)}"
    if name.partition(".")[0] == "motion_energy" and "motion_energy" not in names.values:
        return "motion_energy comes from the stage of that name; add `- motion_energy: {}` to the stream's stages"
    known = (*names.keypoints, *names.zones, *names.quantities, *names.values)
    return f"there is no keypoint, zone, quantity or value {name!r}{nearest(name, known)}"
