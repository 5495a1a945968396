"""Parts of the frame that a keypoint can be in: drawn by the user, in pixels or in fractions of the frame."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from poseloop_server.loop.shapes import Circle, Place, Polygon, Shape, are_in_line, area_of, crossing_of

MAX_CORNERS = 500

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Corner = tuple[Finite, Finite]


class ZoneUnit(StrEnum):
    """What the numbers of a zone are."""

    PIXEL = "pixel"  # of the frame; the centre of its top-left pixel is (0, 0)
    FRACTION = "fraction"  # (0, 0) is the top-left corner of the image and (1, 1) its bottom-right one


class CircleConfig(BaseModel):
    """``circle: {center: [x, y], radius: r}``; as a fraction, the radius is one of the frame's width."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    center: Corner
    radius: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class RectangleConfig(BaseModel):
    """``rectangle: {left: x, top: y, right: x, bottom: y}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    left: Finite
    top: Finite
    right: Finite
    bottom: Finite

    @model_validator(mode="after")
    def _check(self) -> RectangleConfig:
        if not (self.left < self.right and self.top < self.bottom):
            raise ValueError("a rectangle's left has to be less than its right and its top less than its bottom")
        return self

    @property
    def corners(self) -> tuple[Corner, ...]:
        """The four of them, clockwise as seen in the image."""
        return ((self.left, self.top), (self.right, self.top), (self.right, self.bottom), (self.left, self.bottom))


class ZoneConfig(BaseModel):
    """One zone: a circle, a polygon or a rectangle; its border belongs to it.

    ``{circle: {center: [0.5, 0.5], radius: 0.1}, unit: fraction}``; ``{polygon: [[10, 10], [90, 10], [50, 80]]}``;
    ``{rectangle: {left: 0, top: 0, right: 99, bottom: 49}}``. As fractions, x and the radius are parts of the frame's
    width, y of its height, so that a circle stays round.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    circle: CircleConfig | None = None
    polygon: Annotated[tuple[Corner, ...], Field(max_length=MAX_CORNERS)] | None = None
    rectangle: RectangleConfig | None = None
    unit: ZoneUnit = ZoneUnit.PIXEL

    @model_validator(mode="after")
    def _check(self) -> ZoneConfig:
        if sum(shape is not None for shape in (self.circle, self.polygon, self.rectangle)) != 1:
            raise ValueError("a zone is one of circle, polygon and rectangle")
        if self.polygon is not None:
            _check_polygon(self._corners)
        self._check_unit()
        return self

    def _check_unit(self) -> None:
        """Refuse what was plainly drawn in the other unit."""
        points = self._corners if self.circle is None else (self.circle.center,)
        if self.unit is ZoneUnit.FRACTION and not all(0 <= each <= 1 for point in points for each in point):
            raise ValueError("the points of a zone in fractions lie between 0 and 1; for pixels say unit: pixel")
        size = max((max(abs(x), abs(y)) for x, y in points), default=0.0)
        if self.unit is ZoneUnit.PIXEL and size <= 1 and (self.circle is None or self.circle.radius <= 1):
            raise ValueError("this zone is within one pixel of the frame's corner; for fractions say unit: fraction")

    @property
    def _corners(self) -> tuple[Corner, ...]:
        if self.rectangle is not None:
            return self.rectangle.corners
        corners = self.polygon or ()
        closed = len(corners) > 1 and corners[0] == corners[-1]  # as GeoJSON and many drawing programs write it
        return corners[:-1] if closed else corners

    def shape(self, width: int, height: int, scale: float = 1.0) -> Shape:
        """Return the zone in frames of that size, in pixels times ``scale``."""
        if self.circle is not None:
            center = self._placed(self.circle.center, width, height, scale)
            across = width if self.unit is ZoneUnit.FRACTION else 1
            return Circle(*center, self.circle.radius * across * scale)
        return Polygon(tuple(self._placed(corner, width, height, scale) for corner in self._corners))

    def is_outside(self, width: int, height: int) -> bool:
        """Whether a frame of that size has no part of the zone; only the zone's extents are looked at."""
        if self.unit is ZoneUnit.FRACTION:
            return False
        points, reach = (self._corners, 0.0) if self.circle is None else ((self.circle.center,), self.circle.radius)
        sides = zip(zip(*points, strict=True), (width, height), strict=True)
        return any(min(places) - reach > size - 0.5 or max(places) + reach < -0.5 for places, size in sides)

    def _placed(self, point: Corner, width: int, height: int, scale: float) -> Place:
        x, y = point
        if self.unit is ZoneUnit.FRACTION:
            # The image begins half a pixel before the centre of its first one.
            x, y = x * width - 0.5, y * height - 0.5
        return (x * scale, y * scale)


def _check_polygon(corners: tuple[Corner, ...]) -> None:
    """Refuse corners that enclose nothing, or of which no one can say what they enclose."""
    if len(corners) < 3:
        raise ValueError(f"a polygon needs at least 3 corners and this one has {len(corners)}")
    for index, corner in enumerate(corners):
        if corner == corners[index - 1]:
            raise ValueError(f"two corners in a row of the polygon are the same, {_text(corner)}; leave one out")
    crossing = crossing_of(corners)
    if are_in_line(corners) or (crossing is None and math.isclose(area_of(corners), 0.0, abs_tol=1e-12)):
        raise ValueError("the polygon has no area; its corners lie on a line")
    if crossing is not None:
        first, second = crossing
        raise ValueError(
            f"the polygon crosses or touches itself: its side from {_text(corners[first])} and that from "
            f"{_text(corners[second])}; give the corners in the order in which one walks around it"
        )


def _text(corner: Corner) -> str:
    return f"[{corner[0]:g}, {corner[1]:g}]"
