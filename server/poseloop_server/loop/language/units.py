"""The units behind numbers, and which numbers may stand beside one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poseloop_server.loop.language.types import ANGLE, LENGTH, PLAIN, TIME, Dimension

if TYPE_CHECKING:
    from poseloop_server.loop.language.names import Names

_CM = {"cm": 1.0, "mm": 0.1}
_SIMPLE = {"ms": (TIME, 1e-3), "s": (TIME, 1.0), "min": (TIME, 60.0), "deg": (ANGLE, 1.0)}
_TIMES = {"": PLAIN, "s": TIME, "s2": TIME * TIME}
UNITS = (*_SIMPLE, "px", *_CM)


def is_unit(text: str) -> bool:
    """Return whether this is a unit, such as ``ms`` or ``px/s``."""
    base, _, below = text.partition("/")
    return base in UNITS and below in _TIMES


def unit_of(text: str, names: Names) -> tuple[Dimension, float]:
    """Return the dimension of a unit and what to multiply a number of it with, to have it in seconds, degrees, lengths.

    Raises:
        ValueError: it needs ``pixels_per_cm``, and that is not known.
    """
    base, _, below = text.partition("/")
    over = _TIMES[below]
    if base in _SIMPLE:
        dimension, factor = _SIMPLE[base]
        return dimension / over, factor
    if base == "px":
        return LENGTH / over, names.scale
    centimetres = _CM[base]
    if names.pixels_per_cm is None:
        raise ValueError(f"{base} needs pixels_per_cm in the configuration; or write the length in px")
    return LENGTH / over, centimetres * names.pixels_per_cm * names.scale
