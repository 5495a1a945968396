"""Checkpoints: the weights of a network beside what it takes to build it again; plain values, never pickled objects."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec
from pydantic import ValidationError
from torch import Tensor

from poseloop_training.network import NetworkConfig, PoseNetwork

# Where a checkpoint of ours, or one of Lightning that `poseloop train` wrote, holds its description.
DESCRIPTION = "poseloop"
# In Lightning's checkpoints the averaged network's weights stand under this name beside the others.
AVERAGED = "averaged."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds: a model's description, the shape of its network, and the weights."""

    spec: ModelSpec
    config: NetworkConfig
    weights: dict[str, Tensor]

    def build(self) -> PoseNetwork:
        """Return the network with these weights and the description's calibration, ready to predict."""
        network = PoseNetwork(self.config)
        network.load_state_dict(self.weights)
        network.confidence = self.spec.confidence
        return network.eval()


def describe(spec: ModelSpec, config: NetworkConfig) -> dict[str, Any]:
    """Return what stands in a checkpoint under `DESCRIPTION`."""
    return {"spec": spec.model_dump_json(), "network": config.as_dict()}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, the whole file or none of it."""
    content = {DESCRIPTION: describe(checkpoint.spec, checkpoint.config), "state_dict": checkpoint.weights}
    partial = path.with_suffix(path.suffix + ".partial")
    torch.save(content, partial)
    partial.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of `poseloop train`: best.ckpt or last.ckpt of a run folder.

    Raises:
        InvalidInputError: it does not exist, holds more than plain values and tensors, or is not ours.
    """
    content = load_plain(path)
    try:
        description = content[DESCRIPTION]
        weights = content["state_dict"]
        if any(name.startswith(AVERAGED) for name in weights):
            weights = {n.removeprefix(AVERAGED): tensor for n, tensor in weights.items() if n.startswith(AVERAGED)}
        spec = ModelSpec.model_validate_json(description["spec"])
        return Checkpoint(spec, NetworkConfig(**description["network"]), weights)
    except (KeyError, TypeError, AttributeError, ValidationError):
        raise InvalidInputError(
            f"{path} is no checkpoint of `poseloop train`; give best.ckpt or last.ckpt of a run folder."
        ) from None


def load_plain(path: Path) -> dict[str, Any]:
    """Load a file of tensors and plain values.

    Raises:
        InvalidInputError: it does not exist, is damaged, or holds pickled objects, which could run code.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist; give a file of weights, .ckpt or .pth.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0][:120]
        raise InvalidInputError(
            f"{path} can't be loaded as tensors and plain values ({reason}); give a state dict or a checkpoint that "
            "`poseloop train` wrote."
        ) from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no named tensors; give a state dict.")
    return content
