"""Parts of an expression, compiled."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import nan
from typing import Any

from poseloop_server.loop.language.types import Type


def _nothing(_: Any) -> float:
    return nan


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression, compiled.

    Attributes:
        type: of it.
        key: the same for two parts that always have the same value; of a point its `PointKey`, of a zone its name.
        run: reads a number or a truth from a scene's slots.
        constant: its value, where that is known beforehand.
    """

    type: Type
    key: Hashable
    run: Callable[..., Any] = _nothing
    constant: float | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole expression, compiled.

    Attributes:
        part: what it is.
        keypoints: that it depends on.
        terms: what it is made of: slots by their text.
        depth: of it, that of the quantities in it included.
    """

    part: Part
    keypoints: tuple[str, ...]
    terms: dict[str, int]
    depth: int
