"""What the expressions of one stream may speak of."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from poseloop.errors import InvalidInputError

from poseloop_server.loop.language.errors import written
from poseloop_server.loop.zones import ZoneConfig

if TYPE_CHECKING:
    from poseloop_server.loop.language.parts import Compiled
    from poseloop_server.loop.language.scene import Scene

Value = float | bool | None
"""A number, NaN where it is unknown; or a truth, None where it is unknown."""
Measure = Callable[[], Value]
Maker = Callable[["Scene"], Measure]


class Plan:
    """What has to be measured at each pose, every quantity once, those that others need before them."""

    def __init__(self) -> None:
        self.makers: list[Maker] = []
        self.blanks: list[Value] = []
        self._slots: dict[Hashable, int] = {}

    def slot(self, key: Hashable, blank: Value, maker: Maker) -> int:
        """Return where the quantity of this key will be found, having it measured from now on."""
        if key not in self._slots:
            self._slots[key] = len(self.makers)
            self.makers.append(maker)
            self.blanks.append(blank)
        return self._slots[key]


@dataclass(eq=False)
class Names:
    """The keypoints, zones, quantities and values that expressions may name, and the unit of lengths.

    All expressions that are compiled with the same `Names` share what they measure, in every `Scene` made of it.

    Attributes:
        keypoints: of the model, in the order of their axis.
        zones: by name.
        quantities: texts of expressions that others may use by name.
        values: names of what stages add to `LoopPose.values`.
        unit: of all lengths in expressions: a plain number beside a length is meant in it.
        pixels_per_cm: of the camera's picture; needed where centimetres are spoken of.

    Raises:
        InvalidInputError: two things have the same name, or centimetres are wanted without ``pixels_per_cm``.
    """

    keypoints: Sequence[str]
    zones: Mapping[str, ZoneConfig] = field(default_factory=dict)
    quantities: Mapping[str, str] = field(default_factory=dict)
    values: Collection[str] = ()
    unit: Literal["px", "cm"] = "px"
    pixels_per_cm: float | None = None
    plan: Plan = field(default_factory=Plan, init=False, repr=False)
    compiled: dict[str, Compiled] = field(default_factory=dict, init=False, repr=False)
    """The quantities that were compiled already."""

    def __post_init__(self) -> None:
        per_cm = self.pixels_per_cm
        if per_cm is not None and not (math.isfinite(per_cm) and per_cm > 0):
            raise InvalidInputError(f"pixels_per_cm is {per_cm:g}; it has to be more than 0")
        if self.unit == "cm" and per_cm is None:
            raise InvalidInputError("unit: cm needs pixels_per_cm; measure how many pixels of the frame are 1 cm")
        known: dict[str, str] = {}
        for noun, names in self._groups:
            for name in names:
                if name in known:
                    raise InvalidInputError(
                        f"{written(name)} is the name of a {known[name]} and of a {noun}; rename one of them"
                    )
                known[name] = noun

    @property
    def _groups(self) -> tuple[tuple[str, Collection[str]], ...]:
        return (
            ("keypoint", self.keypoints),
            ("zone", self.zones),
            ("quantity", self.quantities),
            ("value of a stage", self.values),
        )

    @property
    def scale(self) -> float:
        """How many of `unit` a pixel is."""
        return 1.0 if self.unit == "px" or self.pixels_per_cm is None else 1.0 / self.pixels_per_cm
