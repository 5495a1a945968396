"""Weights out of other programs' checkpoints: tensors and plain values only, whatever else the file holds."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from poseloop.errors import InvalidInputError
from torch import Tensor, nn

_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    IndexError,
)


class _Inert:
    """Stands in for an object of another program: takes whatever it is given, and does nothing with it."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def load_inert(path: Path, modules: tuple[str, ...] = ()) -> dict[str, Any]:
    """Load a checkpoint with ``weights_only=True``; classes of these modules become inert stand-ins.

    No code of the file or of the named modules runs: the names are looked up in a table of stand-ins and nowhere else.

    Args:
        path: the file.
        modules: whose classes may be named in the file, for example ``("omegaconf",)``.

    Raises:
        InvalidInputError: it does not exist, is damaged, names anything else, or holds no mapping.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist; give a checkpoint file.")
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if zipfile.is_zipfile(path) else []
        stand_ins: list[Any] = [(type("Inert", (_Inert,), {}), name) for name in named if _within(name, modules)]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise InvalidInputError(
            f"{path} can't be loaded as tensors and plain values ({_reason(error)}); it is damaged or no checkpoint, "
            "so copy it again from where it was trained."
        ) from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no named tensors; give a checkpoint file.")
    return content


def only_tensors(content: object, path: Path, what: str) -> dict[str, Tensor]:
    """Return a state dict that stands in a checkpoint under ``what``.

    Raises:
        InvalidInputError: there is none.
    """
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InvalidInputError(f"{path} has no weights under {what!r}; give the checkpoint that training wrote.")
    return {str(name): tensor.float() if tensor.is_floating_point() else tensor for name, tensor in content.items()}


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights, every one of them and no other.

    Raises:
        InvalidInputError: names or shapes differ; the sentence gives the first.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    unknown = [name for name in weights if name not in own]
    shapes = [name for name in own if name in weights and weights[name].shape != own[name].shape]
    if missing or unknown or shapes:
        first = (
            f"it lacks {missing[0]}"
            if missing
            else f"{unknown[0]} has no place in it"
            if unknown
            else f"{shapes[0]} is {_shape(weights[shapes[0]])}, not {_shape(own[shapes[0]])}"
        )
        others = len(missing) + len(unknown) + len(shapes) - 1
        raise InvalidInputError(
            f"the weights in {path.name} are not of the network that its configuration describes: {first}"
            + (f", and {others} more differ" if others else "")
            + "; give a checkpoint and a configuration of one training."
        )
    network.load_state_dict(dict(weights), strict=False)  # the counters of batches may be absent
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InvalidInputError(f"{path.name}: the weights {name} are not all numbers; give another checkpoint.")


def _within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
