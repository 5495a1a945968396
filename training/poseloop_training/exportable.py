"""What can be exported as a model file: our own network, or one that was trained elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class HasHeatmaps(Protocol):
    """A network's maps."""

    @property
    def heatmaps(self) -> Tensor:
        """``[N, K, h, w]``, the higher the likelier."""
        ...


class Exportable(Protocol):
    """A `torch.nn.Module` from frames to keypoints, as `poseloop_training.network.PoseNetwork` is."""

    def eval(self) -> Any:
        """Take it out of training."""
        ...

    def __call__(self, frames: Tensor, /) -> Tensor:
        """Turn uint8 ``[N, H, W, C]`` into keypoints ``[N, 1, K, 3]``."""
        ...

    def scaled(self, frames: Tensor) -> Tensor:
        """Turn frames into the network's image."""
        ...

    def maps(self, image: Tensor) -> HasHeatmaps:
        """Turn that image into maps; where two cells of a heatmap are equally good, no coordinate is compared."""
        ...
