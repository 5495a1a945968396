"""How much changes from one image to the next, in all of it and in zones: movement without a single keypoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.images import to_gray
from poseloop.types import PixelFormat
from pydantic import Field

from poseloop_server.loop.config_errors import nearest
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.zones import ZoneConfig
from poseloop_server.stages.base import StageConfig, StageContext
from poseloop_server.stages.filtering import FORGET_NS
from poseloop_server.stages.zone_masks import mask_of

NAME: Final = "motion_energy"

Plane = NDArray[np.uint8]


class MotionEnergyConfig(StageConfig):
    """What the motion energy is told: ``- motion_energy: {zones: [nest, port]}``."""

    zones: tuple[str, ...] = ()
    """Zones of the stream in which it is measured too, as ``motion_energy.ZONE``."""
    row_step: Annotated[int, Field(ge=1, le=64)] = 1
    """Only every so many rows of the image are looked at, which divides the time; for large frames."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A zone in the rows that are looked at: its box, and which of the box's ``count`` pixels are inside."""

    rows: slice
    columns: slice
    mask: Plane
    count: int


class MotionEnergy:
    """The mean absolute difference of two successive images, in grey levels of 0 to 255 a pixel and a frame.

    It is one a frame, not one a second: most of what it tells at rest is the camera's noise, which is the same from one
    frame to the next however long that took, and a movement of more than its own texture adds no more. So thresholds
    belong to a camera and a frame rate. A frame that was dropped makes one difference that spans two frames.

    Unknown, NaN, at the first image, and where the one before was captured more than half a second earlier. Where a
    pose has no image, as in a replay, the values that it came with are left as they are.

    Args:
        config: of the stage.
        context: with the stream's zones.

    Raises:
        InvalidInputError: a zone is named that the stream does not have.
    """

    config: ClassVar[type[MotionEnergyConfig]] = MotionEnergyConfig
    needs_image: ClassVar[bool] = True

    def __init__(self, config: MotionEnergyConfig, context: StageContext) -> None:
        self._zones = _chosen(config.zones, context.zones)
        self._row_step = config.row_step
        self._parts: dict[str, _Part] = {}
        self.reset()

    @property
    def value_names(self) -> tuple[str, ...]:
        """What it adds to a pose's values."""
        return (NAME, *(f"{NAME}.{zone}" for zone in self._zones))

    def reset(self) -> None:
        """Forget the image before."""
        self._before: Plane | None = None
        self._captured_ns = 0
        self._size = (0, 0)

    def process(self, pose: LoopPose) -> LoopPose:
        """Add the motion energy at this pose to its values."""
        if pose.image is None:
            return pose
        plane, lent = self._plane(pose.image)
        self._fit(pose.image)
        before = self._before
        if before is None or pose.captured_ns - self._captured_ns > FORGET_NS:
            pose.values.update(dict.fromkeys(self.value_names, nan))
        else:
            pose.values.update(self._measured(plane, before))
        self._keep(plane, lent)
        self._captured_ns = pose.captured_ns
        return pose

    def _plane(self, image: Plane) -> tuple[Plane, bool]:
        """Return the rows to look at in grey, and whether they are the frame's own memory."""
        rows = image[:: self._row_step]
        if image.ndim == 3 and image.shape[2] == 3:
            return to_gray(rows, PixelFormat.RGB8), False
        return rows.reshape(rows.shape[:2]), True

    def _fit(self, image: Plane) -> None:
        """Draw the zones anew where the images have another size."""
        height, width = image.shape[:2]
        if self._size == (width, height):
            return
        self._size = (width, height)
        self._before = None
        self._parts = {name: _part(zone, width, height, self._row_step) for name, zone in self._zones.items()}

    def _measured(self, plane: Plane, before: Plane) -> dict[str, float]:
        import cv2

        values = {NAME: cv2.norm(plane, before, cv2.NORM_L1) / plane.size}
        for name, part in self._parts.items():
            box = (part.rows, part.columns)
            changed = cv2.norm(plane[box], before[box], cv2.NORM_L1, part.mask) if part.count else nan
            values[f"{NAME}.{name}"] = changed / max(part.count, 1)
        return values

    def _keep(self, plane: Plane, lent: bool) -> None:
        """Remember this image, in memory of our own, since a frame's belongs to whoever lent it."""
        if not lent:
            self._before = plane
        elif self._before is None:
            self._before = plane.copy()
        else:
            np.copyto(self._before, plane)


def _chosen(names: tuple[str, ...], zones: Mapping[str, ZoneConfig]) -> dict[str, ZoneConfig]:
    for name in names:
        if name not in zones:
            raise InvalidInputError(f"the stream has no zone {name!r}; {nearest(name, zones, 'zones')}")
    return {name: zones[name] for name in names}


def _part(zone: ZoneConfig, width: int, height: int, row_step: int) -> _Part:
    mask = mask_of(zone.shape(width, height), width, height)[::row_step]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return _Part(slice(0, 0), slice(0, 0), np.zeros((0, 0), np.uint8), 0)
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    inside = np.ascontiguousarray(mask[box]).view(np.uint8)
    return _Part(*box, inside, int(inside.sum()))
