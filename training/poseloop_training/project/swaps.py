"""Left and right exchanged, found by on which side of the animal they usually lie.

Two keypoints and a third one make a triangle that is run through clockwise or anticlockwise. Seen from above (or from
below) leftear, rightear and snout are run through the same way in every frame, wherever the animal heads and however
it bends. Triangles that keep to one way in nearly all frames vote; where they say otherwise, the pair is doubtful. Seen
from the side no triangle keeps to one way, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_FRAMES: Final = 10
KEPT: Final = 0.9  # of the frames; what is less regular has no vote
# A third point this near to the line through the pair, in parts of the pair's usual distance, is on neither side.
BESIDE: Final = 0.25
AGAINST: Final = 0.75  # of the votes


@dataclass(frozen=True, slots=True)
class Swap:
    """A pair that lies the other way round in one frame.

    Attributes:
        frame: row.
        animal: in that frame.
        left: keypoint.
        right: its counterpart.
        seen_from: keypoints that say so.
    """

    frame: int
    animal: int
    left: str
    right: str
    seen_from: tuple[str, ...]


def find_swaps(
    keypoints: NDArray[np.float32], names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> tuple[Swap, ...]:
    """Return where pairs are likely exchanged, in float32 ``(frames, animals, keypoints, 2)``, NaN where unlabelled."""
    animals = keypoints.shape[1]
    points = keypoints.reshape(-1, *keypoints.shape[2:]).astype(np.float64)
    swaps = []
    for left, right in pairs:
        others = [name for name in names if name not in (left, right)]
        if not others:
            continue
        places = names.index(left), names.index(right)
        turns = np.stack([_turns(points, *places, names.index(other)) for other in others])
        for row, against in _against(turns):
            voters = tuple(others[place] for place in against)
            swaps.append(Swap(row // animals, row % animals, left, right, voters))
    return tuple(sorted(swaps, key=lambda swap: swap.frame))


def _turns(points: NDArray[np.float64], left: int, right: int, other: int) -> NDArray[np.float64]:
    """Return for each animal 1 or -1, the way of the triangle, and 0 where it can't be told."""
    across = points[:, right] - points[:, left]
    beyond = points[:, other] - points[:, left]
    distance = np.linalg.norm(across, axis=1)
    if not np.isfinite(distance).any():
        return np.zeros(len(points))
    usual = float(np.nanmedian(distance))
    height = (across[:, 0] * beyond[:, 1] - across[:, 1] * beyond[:, 0]) / np.maximum(distance, 1e-9)
    told = (np.abs(height) > BESIDE * usual) & (distance > BESIDE * usual)
    return np.where(told, np.sign(height), 0.0)


def _against(turns: NDArray[np.float64]) -> list[tuple[int, NDArray[np.int_]]]:
    """Return the animals of which most votes are against the usual way, with the voters."""
    told = (turns != 0).sum(axis=1)
    balance = turns.sum(axis=1)
    usual = np.sign(balance)
    # The part of frames that keep to the usual way, from how many more these are than the others.
    kept = (1 + np.abs(balance) / np.maximum(told, 1)) / 2
    votes = turns * (usual * ((told >= LEAST_FRAMES) & (kept >= KEPT)))[:, None]
    against, all_votes = (votes < 0).sum(axis=0), (votes != 0).sum(axis=0)
    rows = np.flatnonzero((all_votes > 0) & (against >= AGAINST * all_votes))
    return [(int(row), np.flatnonzero(votes[:, row] < 0)) for row in rows]
