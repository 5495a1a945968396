"""Conditions and quantities in a few words: parsed, checked and compiled once, evaluated at each pose.

`compile_condition` and `compile_expression` make an `Expression` of a text and the `Names` it may use; a `Scene` of the
same names measures, once a pose, what all of them need. docs/conditions.md describes the language.
"""

from poseloop_server.loop.language.errors import ExpressionError
from poseloop_server.loop.language.expression import (
    Expression,
    check_quantities,
    compile_condition,
    compile_expression,
)
from poseloop_server.loop.language.names import Names
from poseloop_server.loop.language.scene import Scene
from poseloop_server.loop.language.types import Kind

__all__ = [
    "Expression",
    "ExpressionError",
    "Kind",
    "Names",
    "Scene",
    "check_quantities",
    "compile_condition",
    "compile_expression",
]
